"""How events travel: topics, the producer that a yes waits for, and the one place where an outcome
is settled.
"""
