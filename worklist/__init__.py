"""The second shop: the list. The only shop that knows SQL and the page.

- `agent`: the process that takes events into the list. Start here.
- `record`: what is known of a study, pure
- `order`: where it stands, pure
- `sql`: keeps it; `migrations` are its schema, step by step
- `web`: shows it, with `templates`, `static` and `locales`
- `writeback`: what the list tells others
- `chores`: periodic work on the list
- `senders`: keeps what gateways say of senders
- `freshness`: how far the list is behind
- `sealing`: chains the audit
- `simulate`: the list as a queueing twin
"""
