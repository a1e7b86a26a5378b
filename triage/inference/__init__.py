"""Batches of many studies through one network, on CPU or CUDA.

`batch` (which images go together) and `queue` (who waits, which thread runs) hold no torch.
`network` is a package's network on its `devices`: `cuda` as graphs, `cpu` as code that `compile`
made before.
"""
