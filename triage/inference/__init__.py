"""Batches of many studies through one network, on CPU or CUDA."""
