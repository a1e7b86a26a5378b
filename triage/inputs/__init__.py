"""Frames to what a package's network takes."""
