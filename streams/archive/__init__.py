"""An archive that does not push is asked what it has.

- `address`: which archive, and whose rules it follows
- `asked`: what each way of asking is asked for
- `find`: by C-FIND
- `qido`: by QIDO-RS
- `reconciling`: what was answered is said once, as an availability notice would
"""
