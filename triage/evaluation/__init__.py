"""How good a package is, on labelled images.

`labels` (what is known of them), `cases` (how each is read), `evaluate` (through the serving path),
`figures` (what is measured), `card` and `plots` (how it is told), `heldout` (whether the card is
still true).
"""
