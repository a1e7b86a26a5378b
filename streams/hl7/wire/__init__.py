"""The wire below a message: frames, connections, who is at the other end, what came before.

- `framing`: frames of a byte stream, bounded in size
- `connection`: one sender's messages in, its answers out in their order, bounded in time and room
- `listener`: who is at the other end: address, certificate, limits
- `proxy`: whom a balancer speaks for
- `repeats`: messages that came before
"""
