"""The street: events and how they travel. Imports neither shop (``triage``, ``worklist``).

If you are here to read, start with ``events`` (what travels) and ``kafka`` (where, and what happens
when something fails), then ``errors``. ``gateway`` puts the doors together, ``hl7`` and ``dicom``.
``seal`` and ``studykey`` keep names out of topics, ``store`` keeps pixels, ``site`` reads who may
send. ``process`` is the one shape of every process, with ``settings``, ``health`` and ``logs``.
"""
