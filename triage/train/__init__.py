"""Training of the shipped models; nothing at serving time imports it."""
