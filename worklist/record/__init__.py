"""What is known of a study: facts become reading items, purely."""
