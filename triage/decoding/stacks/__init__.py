"""Frames become stacks, stacks become slabs, and what of them was read is measured.

`slices` says which frames are read and where each lies; `passes` tells two acquisitions over one
stretch apart; `slabs` averages thin slices and measures coverage.
"""
