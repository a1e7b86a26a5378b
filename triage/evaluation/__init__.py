"""How good a package is, on labelled images.

`labels` (what is known of them), `cases` (how each is read), `evaluate` (through the serving path),
`figures` and `calibrated` (what is measured), `card` and `plots` (how it is told), `heldout`
(whether the card is still true). `references` screens what a package says of its constancy.
`explain`: why a package reads a series, or does not.
"""
