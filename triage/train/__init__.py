"""The workshop that makes packages: `python -m triage.train`.

- `recipes`: what goes in
- `produce`: the steps
- `corpus`: patients' images
- `appearance`, `findings`: what is done to them
- `examples`: what the network sees
- `teacher`: what some members learn from
- `fit`: training
- `calibration`: logits to probabilities and a threshold
- `foreign`: what a package must not judge
- `guard`: how it learns to tell that
- `card_figures`, `guard_figures`: what is measured of it
- `package`: the folder that comes of it
"""
