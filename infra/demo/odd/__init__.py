"""What is odd on the demo's day, and how each ought to end.

- `situations`: images that are not what they seem
- `stories`: what RIS and hospitals do beside the usual
"""
