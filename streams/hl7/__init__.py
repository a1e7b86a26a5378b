"""HL7 v2 over MLLP: bytes in, events out, and the answer.

- `wire`: frames, connections, who is at the other end
- `text`: bytes of one message → separators, segments, fields
- `envelope`: what all events of one message have in common: sender, receipt, version
- `mapping`: a message → events, or that it says nothing for the list
- `studies`: what orders and reports have in common: numbers, patient, whether it is imaging
- `orders`: orders and appointments; what ORC-1 and ORC-5 together say
- `reports`: reports and documents; what OBR-25 and OBX-11 together say
- `patients`: who a PID is; ADT messages as events
- `tables`: HL7's own codes, as far as they decide that
- `answers`: the acknowledgements and their error segment
- `outline`: a message as it may be shown, without a patient
- `sending`: a small sender for integrators
- `replay`: what is parked, sent again
- `door`: the server, which says yes only when the broker has confirmed
"""
