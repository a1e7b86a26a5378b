"""Frames to what a package's network takes.

`prepare` is the way in; `head` and `chest` are its kinds of input, on what is `common` to them.
`picture` reads PNG and JPEG, for labelled images that are no DICOM.
"""
