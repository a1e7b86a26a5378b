"""How events travel, and the one place where an outcome becomes an acknowledgement.

- `topics`: each topic, what it carries, how long it is kept
- `admin`: makes those that a broker does not have
- `produce`: the publisher that a door's yes waits for
- `faust_app`: the Faust application of triage and worklist, its defaults explained
- `consume`: `settle`, where an outcome becomes ack, retry, park or stop
- `reading`: a topic from a position that the reader keeps himself
- `watermarks`: where each partition starts and ends
- `parked`: what failed for good, read from its topic
"""
