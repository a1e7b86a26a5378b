"""The DICOM door, from bytes to events; nothing here decodes a pixel.

- `door`: the server: C-ECHO, C-STORE, MPPS, and their statuses
- `listener`: its connections, kept quiet and bounded
- `gate`: is it DICOM that may be kept? header or Refuse, for any bytes
- `elements`: walks data elements
- `part10`: the file wrapper: written around what is stored, read under the gate
- `headers`: header → facts of a series, identity sealed
- `text`: character sets
- `steps`: MPPS data sets → what they say
- `exams`: MPPS: each word of a modality becomes an event
- `publishing`: when a series is published, and again until the broker has confirmed
"""
