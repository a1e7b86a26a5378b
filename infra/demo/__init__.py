"""A department's day, played through the real doors: `day` writes it, `players` act it, `report`
counts what became of it.
"""
