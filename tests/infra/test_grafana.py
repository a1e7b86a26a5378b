"""The dashboard: written by its builder, naming only what exists, and answered by a real Prometheus panel by panel."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
import yaml

from infra.grafana import build
from tests.infra.metric_names import GIVEN, PROMETHEUS, ROOT, declared, named, recorded, selected

QUERIES = [
    pytest.param(expression, id=f"{panel.title}-{legend}")
    for row in build.ROWS for panel in row.panels for expression, legend in panel.queries
]  # fmt: skip


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
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        assert panel["type"] == "row" or panel["description"]
        taken |= cells
        numbers.add(panel["id"])
    assert len(numbers) == len(build.dashboard()["panels"])


def test_the_provisioned_source_is_the_one_that_panels_ask() -> None:
    provisioning = ROOT / "infra" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    asked = {panel["datasource"]["uid"] for panel in build.dashboard()["panels"] if "datasource" in panel}
    assert asked == {source["uid"]}


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def _exposition() -> bytes:
    """What a process would show after some work: each declared metric with one series, at the time of asking."""
    values = {"door": "mllp", "topic": "orders", "stage": "worklist", "state": "readable", "lane": "list", "act": "next", "le": "+Inf"}
    lines = []
    for name, labels in sorted(declared().items()):
        series = ",".join(f'{label}="{values.get(label, "x")}"' for label in sorted(labels))
        # Half of the rules ask for the parked topic, which has a series of its own.
        for text in {series, series.replace('topic="orders"', 'topic="parked"')}:
            lines.append(f"{name}{{{text}}} {int(time.time()) % 100_000}")
    lines += [f"{name} {int(time.time())}" for name in sorted(GIVEN) if name.startswith("process_")]
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prometheus with our rules, scraping four stand-ins for our processes each second."""
    folder = tmp_path_factory.mktemp("prometheus")

    def page(environ: object, start_response: object) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain; version=0.0.4")])  # type: ignore[operator]
        return [_exposition()]

    server = make_server("127.0.0.1", 0, page, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = [job["job_name"] for job in config["scrape_configs"] if job["job_name"] != "prometheus"]
    config |= {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}, "alerting": {},
        "rule_files": [str(PROMETHEUS / "rules" / "*.yml")],
        "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{server.server_port}"]}]} for job in jobs],
    }  # fmt: skip
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    program = shutil.which("prometheus")
    assert program is not None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        _wait_until_rules_ran(address, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(10)
        server.shutdown()
        server.server_close()
        thread.join(5)


def _wait_until_rules_ran(address: str, log: Path) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        try:
            if _ask(address, "site:vigie_published_events:rate5m") and _ask(address, "site:vigie_door_to_list_seconds:p95_5m"):
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError(log.read_text()[-500:])


def _ask(address: str, expression: str) -> list[object]:
    answer = httpx.get(f"http://{address}/api/v1/query", params={"query": expression}, timeout=10)
    if answer.status_code == 503:  # it starts
        return []
    body = answer.json()
    assert body["status"] == "success", f"{expression}: {body.get('error')}"
    return list(body["data"]["result"])


@pytest.mark.needs("prometheus")
@pytest.mark.slow
def test_a_real_prometheus_answers_every_panel(prometheus: str) -> None:
    asked = [target["expr"] for panel in json.loads(build.TARGET.read_text())["panels"] for target in panel.get("targets", [])]
    assert len(asked) > 30
    empty, deadline = asked, time.monotonic() + 30
    while empty and time.monotonic() < deadline:  # rules and scrapes take their turns
        empty = [expression for expression in empty if not _ask(prometheus, expression)]
        time.sleep(0.5 if empty else 0)
    assert not empty
