"""The one error of triage: a series, or a part of it, that is not analysed, with its reason."""

from __future__ import annotations

from streams.errors import VigieError


class NotAnalysed(VigieError):
    """No score can be given for this; the list says why, and the study keeps its place."""
