"""The list in PostgreSQL: `project` takes a batch of events in, `rows` writes what follows from it.

`queue` reads the list, `leases` gives studies to readers, `audit` keeps every decision,
`policy_store` the rules that rank; `models` declares the tables, `invariants` what must hold.
"""
