"""Frames to what a package's network takes.

`prepare` is the way in; `head` and `chest` are our kinds of input, `recipe` that of a model from
elsewhere, on what is `common` to them. `jailed` is the decoder process, which prepares what it
decodes. `picture` reads PNG and JPEG, for labelled images that are no DICOM.
"""
