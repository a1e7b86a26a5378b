"""The second shop: the list. The only place that knows SQL and the page.

`record` says what is known of a study, `order` where it stands (both pure), `sql` keeps it, `web`
shows it. `agent` takes events into the list, `chores` does its periodic work.
"""
