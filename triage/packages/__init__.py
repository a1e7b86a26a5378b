"""What a model is: a folder with a manifest and weights, believed only after its checks.

`load` reads a folder; `manifest` is what it says of itself, `eligibility` which series it is meant
for, `architectures` the networks it may name, `thresholds` what a site changes.
"""
