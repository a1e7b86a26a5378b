"""The workshop that makes packages: `python -m triage.train`.

`recipes` (what goes in) and `produce` (the steps). Images: `corpus` (patients'), `appearance` and
`findings` (what is done to them), `examples` (what the network sees). Then `fit`, `calibration`,
`package` and `manifest_text`.
"""
