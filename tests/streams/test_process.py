"""The shape of a process: how it says that it serves, how it ends, and what it says of errors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import urllib.request
from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.errors import Misconfigured, Reason, Unavailable
from streams.health import check_binding
from streams.process import Process, explain, fail, need, reading_site, run_process
from streams.settings import StreamsSettings
from triage.settings import TriageSettings
from worklist.settings import WebSettings, WorklistSettings


@pytest.fixture
def settings(tmp_path: Path) -> StreamsSettings:
    return StreamsSettings(ready_file=tmp_path / "ready", metrics_port=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_0_after_its_parts_are_closed_in_reverse(
    settings: StreamsSettings, tmp_path: Path, number: signal.Signals
) -> None:
    closed: list[str] = []

    async def main(process: Process) -> None:
        process.stack.callback(closed.append, "first")
        process.stack.callback(closed.append, "second")
        process.ready(mllp=2575)
        os.kill(os.getpid(), number)
        await process.until_ended()

    assert await run_process(settings, main) == 0
    assert closed == ["second", "first"]
    assert json.loads((tmp_path / "ready").read_text()) == {"pid": os.getpid(), "mllp": 2575}


async def test_work_that_ends_before_the_process_does_ends_it_with_1(
    settings: StreamsSettings,
) -> None:
    async def main(process: Process) -> None:
        process.keep(asyncio.sleep(0.01))
        process.keep(asyncio.sleep(1000))
        await process.until_ended()

    assert await run_process(settings, main) == 1


async def test_work_that_is_still_going_on_at_the_end_is_no_failure(
    settings: StreamsSettings,
) -> None:
    async def main(process: Process) -> None:
        process.keep(asyncio.sleep(1000))
        process.end()
        await process.until_ended()

    assert await run_process(settings, main) == 0


async def test_its_page_says_what_is_not_well(settings: StreamsSettings) -> None:
    def ask(port: int) -> dict[str, bool]:
        with pytest.raises(urllib.request.HTTPError) as answer:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
        with answer.value as body:
            assert body.code == 503
            return dict(json.load(body))

    async def main(process: Process) -> None:
        port = process.serve_health({"kafka": lambda: False, "store": lambda: True})
        assert await asyncio.to_thread(ask, port) == {"kafka": False, "store": True}
        process.end()
        await process.until_ended()

    assert await run_process(settings, main) == 0


def test_each_kind_of_process_has_a_name_and_a_metrics_port_of_its_own() -> None:
    kinds = (StreamsSettings(), TriageSettings(), WorklistSettings(), WebSettings())
    assert [kind.name for kind in kinds] == ["gateway-1", "triage-1", "worklist-1", "web-1"]
    assert [kind.metrics_port for kind in kinds[:3]] == [9101, 9102, 9103]


async def test_a_port_in_use_is_said_with_its_setting(settings: StreamsSettings) -> None:
    async def main(process: Process) -> None:
        process.serve_health({})

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=rf"VIGIE_METRICS_PORT: {port} at 127\.0\.0\.1 .*0"):
            await run_process(settings.model_copy(update={"metrics_port": port}), main)


def test_a_door_that_everybody_could_enter_says_what_to_set() -> None:
    with pytest.raises(Misconfigured, match=r"VIGIE_BIND: 0\.0\.0\.0 .*VIGIE_INSECURE=1"):
        check_binding(StreamsSettings(bind="0.0.0.0"), protected=False)
    check_binding(StreamsSettings(bind="0.0.0.0"), protected=True)
    check_binding(StreamsSettings(bind="::1"), protected=False)


def test_a_wrong_value_is_said_with_its_setting_and_without_the_value() -> None:
    with pytest.raises(ValidationError) as error:
        WorklistSettings(metrics_port=70000, database="mysql://me:secret@host/x")
    line, code = explain(error.value)
    assert code == 2
    assert line.startswith("VIGIE_METRICS_PORT: ")
    assert "VIGIE_DATABASE: " in line
    assert "secret" not in line
    assert "\n" not in line


def test_a_missing_setting_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        need(StreamsSettings(), "site", "kafka")
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("VIGIE_KAFKA is not set: bootstrap servers")


def test_an_error_that_only_has_a_reason_gets_what_to_do() -> None:
    line, code = explain(Unavailable(Reason.BROKER_DOWN))
    assert code == 1
    assert "VIGIE_KAFKA" in line


def test_a_failure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        fail("first\nsecond")
    assert end.value.code == 1
    assert capsys.readouterr() == ("", "first second\n")


def test_a_mistake_in_the_site_is_the_operator_s_to_mend(tmp_path: Path) -> None:
    settings = StreamsSettings(site=tmp_path)
    with pytest.raises(Misconfigured, match=r"policy\.toml: mode"), reading_site(settings):
        raise ValueError("policy.toml: mode: no such mode")
    with pytest.raises(Misconfigured, match="cannot be read"), reading_site(settings):
        (tmp_path / "policy.toml").read_text()
    nowhere = StreamsSettings(site=tmp_path / "nowhere")
    with pytest.raises(Misconfigured, match="VIGIE_SITE"), reading_site(nowhere):
        pass
