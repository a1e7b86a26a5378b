"""Triage: pixels become findings. The only place that knows torch.

The rooms, along a series' way:

- `worker`: the process; events in, findings out. Start here, with `worker.series`.
- `eligibility`: which images a package is meant for, by headers and words.
- `decoding`: stored files to frames, in limited processes of their own, without torch.
- `inputs`: frames to what a package's network takes.
- `inference`: batches of many studies through one network, on CPU or CUDA.
- `runners`: networks from elsewhere, each in a process of its own.
- `judging`: raw scores to a flag, no flag, or an abstention.
- `packages`: what a model is; `models` holds those that come with Vigie.

Behind it:

- `evaluation`: how good a package is.
- `importing`: somebody else's model becomes a package.
- `train`: how ours were made.
- `phantoms`: images that we drew.
- `bench`: how fast it is.
- `sandbox`: what a decoder or a network from elsewhere may not do.
- `model_commands`: `vigie models` and `vigie evaluate`.
"""
