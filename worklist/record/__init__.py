"""What is known of a study, pure: facts in, rows out.

- `facts`: what senders said, and which version of it stands
- `acts`: what persons did, as assertions
- `world`: what numbers join
- `groups`: sets that only ever unite
- `identities`: what is known of patient numbers
- `persons`: who is who
- `requisitions`: which messages speak of one order
- `orders`: where an order stands, and how urgent it is
- `relate`: which facts are one row
- `rows`: what a row holds, its members, what it borrows
- `images`: which images a row has, and when its waiting began
- `closing`: what closes a row and brings it back
- `ai`: what AI says of a row
- `shown`: what a row shows of patient, place and exam
- `items`: the row, put together
"""
