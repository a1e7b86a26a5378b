"""One message as text: bytes in, separators, segments and fields out, split where they are read.

- `charsets`: what MSH-18 says, and the text of the bytes
- `segments`: fields, components, escapes
- `message`: header, segments by name, groups
- `times`: time stamps, and how coarse they are
"""
