"""A real Prometheus with our rules, on loopback, for as long as a test needs it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from infra.grafana import build
from tests.infra.metric_names import PROMETHEUS


def panel_queries() -> list[str]:
    """Every expression of the dashboard as Grafana would ask it."""
    panels = json.loads(build.TARGET.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


@contextmanager
def prometheus(folder: Path, targets: Mapping[str, str]) -> Iterator[str]:
    """Scrapes `targets` (job → host:port) each second; gives its own host:port."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(PROMETHEUS / "rules" / "*.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    program = shutil.which("prometheus")
    assert program is not None
    command = [
        program,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(10)


def ask(address: str, expression: str) -> list[object]:
    """The answer to one query; nothing while Prometheus starts."""
    try:
        answer = httpx.get(
            f"http://{address}/api/v1/query", params={"query": expression}, timeout=10
        )
    except httpx.TransportError:
        return []
    if answer.status_code == 503:
        return []
    body = answer.json()
    assert body["status"] == "success", f"{expression}: {body.get('error')}"
    return list(body["data"]["result"])


def unanswered(address: str, expressions: Sequence[str], within_s: float) -> list[str]:
    """Those of `expressions` that gave no series within the time."""
    empty, deadline = list(expressions), time.monotonic() + within_s
    while empty and time.monotonic() < deadline:  # scrapes and rules take their turns
        empty = [expression for expression in empty if not ask(address, expression)]
        time.sleep(0.5 if empty else 0)
    return empty
