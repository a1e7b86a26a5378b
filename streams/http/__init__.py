"""The HTTP door: an EHR's JSON and FHIR, and images by STOW-RS, become the same events as at the
other doors.

- `door`: its server: port, TLS, time limits
- `gatekeeper`: who may come in, how large, how fast, how often
- `app`: its paths, and what is answered
- `problems`: reasons as statuses and problem documents
- `bodies`: the JSON that it takes, and the events of each
- `making`: what all events of one request have in common
- `repeats`: what comes again is the same word, until another came in between
- `fhir_tables`: status × intent, report status, links: data
- `fhir`: FHIR R4 resources → events
- `fhir_names`: whom a resource names, and by which numbers
- `bundles`: single resources and Bundles, with OperationOutcome as answer
- `capability`: the CapabilityStatement, from the tables
- `multipart`: parts of a multipart body, as they come
- `stow`: STOW-RS: instances into the store
"""
