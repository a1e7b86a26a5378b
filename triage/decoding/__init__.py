"""From stored files to frames, in limited child processes that hold no torch. Read pool, then
child.
"""
