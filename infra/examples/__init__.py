"""Examples that a site can start from."""
