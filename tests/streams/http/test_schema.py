"""The published schema holds: each answer to what schemathesis makes of it is one of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from streams.http.app import Paths, make_app
from streams.http.gatekeeper import Gatekeeper
from streams.identity.seal import KeyRing
from streams.senders.seen import Seen
from streams.senders.site import Site
from streams.settings import StreamsSettings
from tests.streams.http.conftest import TOKEN, Broker


@pytest.fixture
def described(site: Site, ring: KeyRing, tmp_path: Path) -> Any:
    import schemathesis  # loads for half a second

    now = partial(datetime.now, UTC)
    seen = Seen("g", (), now())
    paths = Paths(site, ring, Broker(), None, now, seen)  # type: ignore[arg-type]
    limits = StreamsSettings(kafka="unused", store=tmp_path)
    gate: Any = Gatekeeper(make_app(paths), limits, site, seen, now)
    return schemathesis.openapi.from_asgi("/openapi.json", gate)


@pytest.mark.slow
def test_every_answer_is_one_that_the_schema_states(described: Any) -> None:
    from schemathesis import checks

    checks.load_all_checks()
    wanted = [
        checks.CHECKS.get_one(name)
        for name in (
            "not_a_server_error",
            "status_code_conformance",
            "content_type_conformance",
            "response_schema_conformance",
            "unsupported_method",
        )
    ]
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 4
    for operation in operations:

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def answers(case: Any) -> None:
            case.call_and_validate(
                headers={"Authorization": f"Bearer {TOKEN}"}, checks=wanted, excluded_checks=[]
            )

        answers()
