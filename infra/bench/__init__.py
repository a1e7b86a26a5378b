"""``vigie bench``: each stage beside the bare libraries it stands on, by turns, in one minute."""
