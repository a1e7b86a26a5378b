"""Who may speak at a door, and what was heard of them.

- `site`: the site's senders and codes: who may send, and what their words mean here
- `authorities`: who gives out numbers
- `tls`: a caller, known by its certificate
- `seen`: what each sender did since the start
"""
