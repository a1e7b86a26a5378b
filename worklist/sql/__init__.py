"""The list in PostgreSQL.

- `writing`: takes events in, in one transaction
- `queue`: reads the list; `counts`: the list in numbers
- `asking`: what pages ask beside it
- `leases`: gives studies to readers
- `acts`: what persons do; `rights`: who may
- `orders`: the orders of a row, as a person links them
- `key_images`: which picture belongs to a row
- `shared`: numbers that too many name
- `audit`, `history`: keep every decision
- `policy_store`: the rules that rank
- `senders`: what gateways say of those who send
- `people`: who works with the list
- `models`: the tables; `roles`: who may touch them; `invariants`: what must hold in them
- `database`: engine, migrations, errors
"""
