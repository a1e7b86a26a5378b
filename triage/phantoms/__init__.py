"""Images that we drew ourselves, with a known truth: tests and the demo need no patient.

`heads` (with `bleeds`) and `films` draw arrays, of `shapes`; `bodies` and `noises` what no package
is meant for. `series` makes frames of them, as decoding would, `files` DICOM files.
"""
