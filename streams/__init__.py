"""The street: events and how they travel. Imports neither shop (``triage``, ``worklist``).

If you are here to read, start with ``events`` (what travels) and ``topics`` (where), then
``errors`` and ``consume`` (what happens when something fails), ``produce`` (promise 1), ``gateway``
(the doors, put together), and behind it the doors themselves: ``hl7``, ``dicom``, ``http``.
"""
