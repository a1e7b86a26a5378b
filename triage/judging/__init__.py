"""A score becomes a flag, no flag, or an abstention with its reason.

`flagging` judges by the score, `outputs` each output and stack by itself; `coverage` says whether
enough was read for *not flagged*. `key_image` draws what was flagged.
"""
