"""All that touches PostgreSQL."""
