"""The roof: how Vigie is run. May import all; nothing imports it.

``cli`` mounts each part's commands, ``demo`` runs a hospital's day through the real doors,
``bench`` measures, ``embedded`` brings the broker and the database that come from pip; ``site`` is
the example site.
"""
