"""Batches of many studies through one network, on CPU or CUDA.

`batch` (which images go together) and `queue` (who waits, which thread runs) hold no torch.
`network` is a package's network on its `devices`: `cuda` as graphs, `cpu` as code that `compile`
made before. `opening` picks how a package's network runs: so, as an `imported` one, or in a process
of its own (`triage.runners`). `where` is the map behind a flag.
`drift` is how far served logits may be from float32.
"""
