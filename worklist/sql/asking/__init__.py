"""What pages ask of the list beside its rows in order: `search` finds them by words and facets,
`workbench` those that do not fit together, `not_imaging` orders that a rule keeps off the list,
`screening` says whether models answer, `beside` opens what was said under seal.
"""
