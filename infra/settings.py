"""The settings of all processes together: what is a setting of Vigie, and which name is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from streams.settings import StreamsSettings
from triage.settings import TriageSettings
from worklist.settings import WorklistSettings

PREFIX = "VIGIE_"
HOUSES: tuple[type[StreamsSettings], ...] = (StreamsSettings, TriageSettings, WorklistSettings)
#: Names that only the tests read.
OF_TESTS = frozenset({"VIGIE_CORPORA", "VIGIE_REQUIRE"})


def known() -> set[str]:
    """The name of every setting, as the environment gives it."""
    return {PREFIX + name.upper() for house in HOUSES for name in house.model_fields}


def unknown(environment: Iterable[str]) -> dict[str, str]:
    """Names in `environment` that begin like a setting and are none, each with the setting that it
    resembles, or an empty string.
    """
    names = known()
    return {
        name: next(iter(difflib.get_close_matches(name, names, 1, 0.85)), "")
        for name in sorted(set(environment) - names - OF_TESTS)
        if name.startswith(PREFIX)
    }
