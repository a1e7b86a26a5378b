"""The one transaction: `apply` takes a batch in, `closure` locks and reads what it reaches.

`items` writes the rows that follow (`columns`: what stands in one), `positions` notes how far the
log was read, `rerank` writes rows anew under another policy, `opening` opens what travels sealed.
"""
