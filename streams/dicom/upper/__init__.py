"""DICOM's own upper layer (PS3.8) and message exchange (PS3.7), for the side that is called.

- `pdu`: protocol data units, read and built
- `commands`: command sets, read and built
- `wire`: a socket that is read with time limits
- `association`: one association, from its request to its end
- `admission`: how many of them, of whom, at once
- `listener`: the port: accepts, TLS, ends
"""
