"""The list in PostgreSQL: `writing` takes events in, in one transaction; `queue` reads the list.

`leases` gives studies to readers, `acts` is what persons do and `rights` who may; `counts` the list
in numbers; `audit` and `history` keep every decision; `policy_store` the rules that rank; `models`
declares the tables, `roles` who may touch them, `invariants` what must hold. `senders` keeps what
gateways say of those who send, `people` who works with the list.
"""
