"""The queueing twin: the live list's rank on drawn or recorded studies, minutes counted.

- `scenario`: what arrives, who reads, which policies are compared; `scenario_file` reads one
- `studies`: studies drawn of it
- `history`: a site's own studies; `fit` makes a scenario of them
- `limits`: how large a scenario may be
- `engine`: the event loop
- `disciplines`: who goes first
- `twin`: the same studies under each policy
- `statistics`: means with honest intervals
- `closed_forms`: what theory says of mean waits; `theory`: which of it holds for a list
- `qucad`: FDA's model, to compare with
- `report`: a result for people, in the words of `texts`
"""
