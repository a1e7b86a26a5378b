"""Which images a package is meant for, told from headers alone; the words are data.

`vocabulary.toml` holds the words, `words` folds and finds them, `rule` decides, `header_facts`
reads what a DICOM header states, `elements` converts what many slices say alike once. Imported by
the decoder process: no torch, no pydantic.
"""
