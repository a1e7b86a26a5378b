"""HL7 v2 over MLLP: bytes in, events out, and the answer.

- `framing`: frames of a byte stream, bounded in size and time
- `message`: bytes of one message → separators, character set, fields
- `mapping`: a message → events (orders, patients, merges, reports), or why it is none of ours
- `tables`: HL7's own codes, as far as they decide that
- `answers`: the acknowledgement (original mode) and its error segment
- `door`: the server, which says AA only when the broker has confirmed
"""
