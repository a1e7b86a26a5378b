"""The street: events and how they travel. Imports neither shop (``triage``, ``worklist``).

If you are here to read, start with ``events`` (what travels; ``sealed``: what of it nobody sees on
the way), with ``instances`` (how one names its images), and ``kafka`` (where, and what happens when
something fails), then ``errors``. ``gateway`` puts the doors together, ``hl7``, ``dicom`` and
``http``. ``identity`` keeps names out of topics, ``storage`` keeps pixels and what is drawn of
them, ``senders`` knows who may speak. ``process`` is the one shape of every process, with
``settings``, ``health`` and ``logs``.
"""
