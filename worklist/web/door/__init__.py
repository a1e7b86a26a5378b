"""Who comes in, and how much of whom: `edge` stands before all, with the turns of `limits`; `auth`
knows persons and what their roles may, `sessions` their browsers, `access` asks both of every
request.
"""
