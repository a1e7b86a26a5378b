"""Screening measured beside the bare libraries, for `vigie bench`.

`decode`, `model` and `screening` (its series: `screening_files`) each give `pair`s of two rates,
`limits` what a device allows; `stage_times` the stages of one film. `gpu` checks a device before it
serves.
"""
