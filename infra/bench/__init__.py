"""``vigie bench``: each stage beside the bare libraries it stands on, in the same minute, so that
the ratio means something.
"""
