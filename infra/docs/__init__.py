"""What the repository says of itself: pages written by hand, and those written from the code.

- `build`: writes all of the latter; settings and metrics are its own
- `hl7_profile`: the HL7 door's page
- `statements`: the pages of the DICOM and the HTTP door
"""
