"""What changes while a page is open: `feed` tells it (it asks `worklist.web.views` for `changes`),
`truth` says how far it can be believed, `street` measures that against the broker, and sends on
what persons did. `routes` and `stream` are their way out.
"""
