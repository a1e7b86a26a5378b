"""What the repository says of itself: pages written by hand, and the two that `build` writes."""
