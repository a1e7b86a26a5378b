"""The street: events and how they travel. Imports neither shop (``triage``, ``worklist``).

If you are here to read, start with ``events`` (what travels; ``sealed``: what of it nobody sees on
the way), with ``instances`` (how one names its images), and ``kafka`` (where, and what happens when
something fails), then ``errors``. ``gateway`` puts the doors together, ``hl7`` and ``dicom``.
``seal`` and ``studykey`` keep names out of topics, ``store`` keeps pixels, ``key_images`` what is
drawn of them, ``site`` reads who may send. ``process`` is the one shape of every process, with
``settings``, ``health`` and ``logs``.
"""
