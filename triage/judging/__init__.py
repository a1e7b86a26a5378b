"""`flagging`: a score becomes a flag, no flag, or an abstention with its reason."""
