"""Screening measured beside the bare libraries."""
