"""The second shop: the list. The only place that knows SQL and the page.

Read ``rank`` (one pure function), ``policy`` (its data), ``models`` (the tables), ``agent`` (events
become rows in one transaction), ``queue`` (all other SQL), then ``api``, ``page`` and ``web``.
"""
