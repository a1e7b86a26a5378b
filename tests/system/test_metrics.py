"""A department's day seen by a real Prometheus: no panel is empty, and nobody is paged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.prometheus_server import ask, panel_queries, prometheus, unanswered
from tests.system.conftest import demo
from triage.settings import shipped_models

_PACKAGES = ("vigie_triage_forward_seconds", "vigie_triage_constancy_ok", "vigie_triage_model_info")


@pytest.mark.needs("prometheus")
@pytest.mark.alone
def test_every_panel_shows_the_day_and_no_alert_pages(tmp_path: Path) -> None:
    wanted = panel_queries()
    if not list(shipped_models().glob("*/model.toml")):  # then nothing is measured of packages
        wanted = [query for query in wanted if not any(metric in query for metric in _PACKAGES)]
    with demo(tmp_path, "--headless", "--for", "100", "--speed", "60", "--seed", "1") as running:
        pages = [url.split("/")[2] for url in running.ready["metrics"]]
        targets = dict(zip(("gateway", "triage", "worklist", "web"), pages, strict=True))
        with prometheus(tmp_path, targets) as address:
            assert not unanswered(address, wanted, within_s=90)
            assert not ask(address, 'ALERTS{alertstate="firing", severity="page"}')
            assert ask(address, 'min by () (up{job=~"gateway|triage|worklist|web"}) == 1')
