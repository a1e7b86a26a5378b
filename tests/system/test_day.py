"""A department's day from the doors to the list: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from infra.kafka import Kafka
from tests.system.conftest import day, demo

pytestmark = pytest.mark.alone


def test_promise_1_a_day_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    report = day(tmp_path, "--for", "20", "--speed", "60", "--seed", "1")
    studies = report["studies"]
    assert studies["sent"] == studies["on_list"] > 10
    assert studies["lost"] == studies["doubled"] == 0
    assert studies["screened"] > 0
    assert report["flags"]["flagged"] == studies["flagged"] > 0
    assert report["flags"]["truly_positive"] > studies["flagged"] / 2  # mostly right, on phantoms
    told = report["situations"]
    assert list(told)[:5] == ["prone", "hole", "french", "dose_page", "film"]
    assert list(told)[5:] == ["prior", "pet_ct", "tomosynthesis", "damaged", "icon"]
    assert all(one["as_expected"] for one in told.values()), told
    stories = report["stories"]
    assert len(stories) == 7
    assert all(one["as_expected"] for one in stories.values()), stories
    assert studies["parked"] >= 2  # the poison message, and the bytes that were no HL7
    for kind in ("order", "preliminary", "final", "cancel", "merge", "booking"):
        assert report["answered"][f"{kind}:AA"] == report["sent"][kind]
    assert report["answered"]["images:0000"] == report["sent"]["images"]
    assert report["answered"]["ehr_order:201"] == report["sent"]["ehr_order"] == 1
    assert report["answered"]["damaged_images:B007"] == report["sent"]["damaged_images"] == 1
    assert report["answered"]["bad_message:AE"] == report["sent"]["bad_message"]
    assert set(report["mean_wait_s"]) == {"rank", "ai_off", "fifo"}
    simulated = report["readers_and_simulator"]
    # Of two acts within one moment the audit does not say which one the list saw first; what came
    # back to the list and was read again is one study of the simulator's.
    reads = simulated["reads"]
    assert 0 < reads <= report["reads"] <= reads + 2
    assert reads - max(2, 0.2 * reads) <= simulated["same"] <= reads


def test_promise_1_killing_any_process_loses_nothing(tmp_path: Path) -> None:
    """Each kind of process is killed once in the middle of the traffic. (The embedded broker is
    killed on real Kafka only.)
    """
    killed: list[str] = []

    with demo(
        tmp_path,
        "--headless",
        "--for",
        "40",
        "--speed",
        "60",
        "--seed",
        "2",
        "--report",
        str(tmp_path / "r.json"),
    ) as running:

        def kill() -> None:
            for role in ("gateway", "worklist", "triage", "web"):
                time.sleep(5)
                os.kill(running.ready["pids"][role][0], signal.SIGKILL)
                killed.append(role)

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        code = running.process.wait(300)
    log = (tmp_path / "demo.log").read_text()
    assert killed == ["gateway", "worklist", "triage", "web"]
    assert code == 0, log[-3000:]
    assert "lost 0, doubled 0" in log
    assert "are truly positive (PPV " in log


@pytest.mark.needs("java", "mvn")
def test_promise_1_on_real_kafka_a_broker_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    """The same day on Apache Kafka; the broker is killed in the middle of it, and comes back."""
    folder = tmp_path / "kafka"
    folder.mkdir()
    options = ("--headless", "--for", "30", "--speed", "60", "--seed", "4")
    # The broker is restarted from this thread: the kernel ends a child with the thread that started
    # it.
    with Kafka(folder) as broker, demo(tmp_path, *options, "--kafka", broker.address) as running:
        time.sleep(8)
        broker.kill()
        time.sleep(2)
        broker.restart()
        code = running.process.wait(300)
    log = (tmp_path / "demo.log").read_text()
    assert code == 0, log[-3000:]
    assert "lost 0, doubled 0" in log
