"""The dashboard names only what exists, and a real Prometheus answers it panel by panel."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import yaml

from infra.grafana import build, panels
from tests.infra.metric_names import GIVEN, ROOT, declared, named, recorded, selected
from tests.infra.prometheus_server import panel_queries, prometheus, unanswered

QUERIES = [
    pytest.param(expression, id=f"{panel.title}-{legend}")
    for row in panels.ROWS
    for panel in row.panels
    for expression, legend in panel.queries
]


def test_the_file_is_what_the_builder_writes() -> None:
    assert build.TARGET.read_text() == build.text(), "run: python -m infra.grafana.build"


@pytest.mark.parametrize("expression", QUERIES)
def test_panels_name_only_metrics_and_labels_that_exist(expression: str) -> None:
    known = declared()
    assert named(expression)
    assert named(expression) <= known.keys() | recorded() | GIVEN
    for metric, label in selected(expression):
        assert metric not in known or label in known[metric] | {"job", "instance"}


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    numbers = set()
    for panel in build.dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        assert panel["type"] == "row" or panel["description"]
        taken |= cells
        numbers.add(panel["id"])
    assert len(numbers) == len(build.dashboard()["panels"])


def test_the_provisioned_source_is_the_one_that_panels_ask() -> None:
    provisioning = ROOT / "infra" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    asked = {
        panel["datasource"]["uid"] for panel in build.dashboard()["panels"] if "datasource" in panel
    }
    assert asked == {source["uid"]}


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def _exposition() -> bytes:
    """What a process would show after some work: each declared metric with one series, at the time
    of asking.
    """
    values = {
        "door": "mllp",
        "topic": "orders",
        "stage": "worklist",
        "state": "readable",
        "lane": "list",
        "act": "next",
        "le": "+Inf",
    }
    lines = []
    for name, labels in sorted(declared().items()):
        series = ",".join(f'{label}="{values.get(label, "x")}"' for label in sorted(labels))
        # Half of the rules ask for the parked topic, which has a series of its own; one panel asks
        # for what lies below a half.
        others = (('topic="orders"', 'topic="parked"'), ('le="+Inf"', 'le="0.5"'))
        for text in {series, *(series.replace(*other) for other in others)}:
            lines.append(f"{name}{{{text}}} {int(time.time()) % 100_000}")
    lines += [f"{name} {int(time.time())}" for name in sorted(GIVEN) if name.startswith("process_")]
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture
def stand_in() -> Iterator[str]:
    """host:port of a page that shows every metric that we declare."""

    def page(environ: object, start_response: object) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain; version=0.0.4")])  # type: ignore[operator]
        return [_exposition()]

    server = make_server("127.0.0.1", 0, page, handler_class=_Quiet)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
    )
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.mark.needs("prometheus")
@pytest.mark.slow
def test_a_real_prometheus_answers_every_panel(stand_in: str, tmp_path: Path) -> None:
    assert len(panel_queries()) > 30
    with prometheus(
        tmp_path, dict.fromkeys(("gateway", "triage", "worklist", "web"), stand_in)
    ) as address:
        assert not unanswered(address, panel_queries(), within_s=40)
