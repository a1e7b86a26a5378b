"""The DICOM door, from bytes to events; nothing here decodes a pixel.

- `upper/`: the protocol itself: associations and messages, bounded
- `door`: who may call, and which request goes where
- `agreed`: which SOP classes are taken, in which transfer syntaxes
- `receiving`: C-STORE: an instance on its way into the store
- `gate`: is it DICOM that may be kept? header or Refuse, for any bytes
- `damaged`: what the gate refuses and still names its study
- `elements`: walks data elements
- `part10`: the file wrapper: written around what is stored, read under the gate
- `patients`: whom a data set names: number, authority, identity; accession numbers likewise
- `headers`: header → facts of a part of a series, identity sealed
- `text`: character sets
- `steps`: MPPS data sets → what they say
- `notices`: availability notices → what they say
- `exams`: each word of a modality about an exam becomes an event
- `sending`: a sender for integrators (`vigie send`)
- `publishing`: when a series is published, and again until the broker has confirmed
"""
