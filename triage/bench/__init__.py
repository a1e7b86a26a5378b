"""Screening measured beside the bare libraries, for `vigie bench`.

`decode`, `model` and `screening` each give `pair`s of two rates; `stage_times` the stages of one
film. `phantom_files` writes what they read.
"""
