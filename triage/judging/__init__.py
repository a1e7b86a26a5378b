"""A score becomes a flag, no flag, or an abstention with its reason.

`flagging` judges by the score, `outputs` each output and stack by itself; `coverage` says whether
enough was read for *not flagged*, `bodies` whether size and skull are of the part that a package is
meant for. `key_image` draws what was flagged.
"""
