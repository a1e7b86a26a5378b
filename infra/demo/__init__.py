"""A department's day, played through the real doors.

- `run`: `vigie demo`, from start to report
- `installation`: what the day runs on
- `site`: the demo's own site
- `day`: writes the day; `case` is one study of it, `odd` what goes wrong
- `pictures`: real images instead of drawn ones
- `traffic`: acts the day, through `senders`
- `hl7_messages`, `dicom_files`: what they send
- `readers`: simulated radiologists
- `api`: asks the HTTP API as a lead's browser would
- `report`: counts what became of the day
- `waits`: the waits that the simulator gives the same day
"""
