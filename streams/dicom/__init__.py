"""The DICOM door, from bytes to events; nothing here decodes a pixel.

::

    door.py        the SCP: C-ECHO, C-STORE, MPPS; statuses gate.py      is it DICOM that may be
    kept? header or Refuse, for any bytes     elements.py  walks data elements part10.py    the file
    wrapper: written around what is stored, read under the gate headers.py   header → facts of a
    series, identity sealed                       text.py      character sets steps.py     MPPS data
    sets → what they say publishing.py  when a series is published, and again until the broker has
    confirmed
"""
