"""What a model is: a folder with a manifest and weights, believed only after its checks.

`load` reads a folder, `trust` says who vouches for it; `manifest` is what it says of itself
(written as TOML by `manifest_text`), `input_spec` what its network reads, `architectures` (with
`densenet`) the networks it may name, `guard` how foreign an image is to them, `thresholds` what a
site changes.
"""
