"""What the list tells others: today what persons did, to the topic *acts*.

`relay` sends it; `leader` sees to it that of several processes one does.
"""
