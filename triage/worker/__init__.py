"""The process: events in, series through their packages, findings out.

An event's way: `process` (Faust's shell), `intake` (read ahead, acknowledged in order), with
`backlog` and `urgency` (what is next), `series` (one series to its findings). Before that `loading`
makes each package a `loaded_model`; at start and each day `constancy` checks their scores. A flag's
picture is drawn by `key_images`, after it is out.
"""
