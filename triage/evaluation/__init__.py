"""A package measured on labelled images, and the card that says so."""
