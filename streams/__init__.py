"""The street: events and how they travel. Imports neither shop (`triage`, `worklist`).

If you are here to read, start with `events`, then `kafka` and `errors`.

- `events`: what travels; `sealed`: what of it nobody sees on the way
- `instances`: how one event names its images
- `kafka`: where events travel, and what happens when something fails
- `errors`: why something is refused, parked or not analysed
- `gateway`: puts the doors together: `hl7`, `dicom` and `http`
- `archive`: one that does not push is asked what it has
- `senders`: who may speak at a door
- `identity`: names kept out of topics
- `storage`: pixels, and what is drawn of them
- `process`: the one shape of every process, with `settings`, `health` and `logs`
- `api`: the list's API, as commands ask it
"""
