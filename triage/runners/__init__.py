"""Networks from elsewhere (pt2, ONNX), each in a process of its own that has limits.

`outside` is what serves: it starts the process, shares memory with it and asks; `child` is that
process. What it may not do is in `triage.sandbox`, for decoders too.
"""
