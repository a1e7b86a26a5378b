"""The first shop: pixels become findings. The only place that knows torch.

Read ``agent`` (a thin shell), then ``screening`` (a batch through one package; ``compiled`` and
``graphs``: how it runs), ``packages`` (what a model is), ``pixels`` and ``decode`` (from a stored
    file to frames, in a jail), ``prepare`` (frames to the model's input), ``flagging`` (score to
    flag or abstention). ``train``, ``evaluate`` and ``phantoms`` are the workshop behind it.
"""
