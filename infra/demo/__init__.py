"""A department's day, played through the real doors: `day` writes it, `traffic`
acts it through `senders`, `report` counts what became of it; `installation` is what it runs on.
"""
