"""Triage: pixels become findings. The only place that knows torch.

The rooms, along a series' way:

- `worker`: the process; events in, findings out. Start here, with `worker.series`.
- `eligibility`: which images a package is meant for, by headers and words.
- `decoding`: stored files to frames, in limited processes of their own, without torch.
- `inputs`: frames to what a package's network takes.
- `inference`: batches of many studies through one network, on CPU or CUDA.
- `judging`: raw scores to a flag, no flag, or an abstention.
- `packages`: what a model is; `models` holds those that come with Vigie.

Behind it: `evaluation` (how good a package is), `train` (how one is made), `phantoms` (images that
we drew), `bench` (how fast it is).
"""
