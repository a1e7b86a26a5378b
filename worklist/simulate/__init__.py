"""The queueing twin: the live list's rank on drawn or recorded studies, minutes counted."""
