"""The order of the list, pure: `policy` holds the site's rules, `rank` applies them to a study.

`going_live` says why a package's flags may rank. `rank.rank` gives a study's place and the reasons
for it, `rank.overtaken_until` the bound on how long others may still be put before it,
`rank.variants` the policies that it is compared with.
"""
