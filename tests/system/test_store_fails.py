"""A store on a network file system that fails under a real gateway: what it answers is true."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.embedded import MockKafka
from streams.identity.seal import KeyRing
from streams.identity.studykey import instance_name
from tests.streams.dicom.conftest import file_of, image
from tests.streams.dicom.senders import send
from tests.system.gateways import Gateways, Published

pytestmark = [pytest.mark.slow, pytest.mark.needs("g++")]
KEPT, FULL = 0x0000, 0xA700


@dataclass
class Failing:
    """One gateway, and the plan by which its store fails."""

    gateways: Gateways
    published: Published
    ready: dict[str, Any]
    plan: Path

    def send(self, *images: Any) -> list[int]:
        return send(int(self.ready["dicom"]), *images)


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory, ring: KeyRing) -> Iterator[Failing]:
    folder = tmp_path_factory.mktemp("failing")
    library, plan = folder / "faults.so", folder / "plan"
    source = Path(__file__).with_name("store_faults.c")
    compiled = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"]
    subprocess.run(compiled, check=True)
    plan.write_text("")
    broker = MockKafka()
    gateways = Gateways(folder, broker.address, ring)
    env = {"LD_PRELOAD": library, "FAULTS": plan, "FAULTS_UNDER": folder / "store"}
    _, ready = gateways.start("gateway-1", **{name: str(path) for name, path in env.items()})
    published = Published(broker.address)
    yield Failing(gateways, published, ready, plan)
    published.close()
    gateways.stop()
    broker.stop()


#: What fails, how, how often, where; and what the sender is told.
FAULTS = [
    ("open", errno.ESTALE, 1, "/arriving/", KEPT),
    ("open", errno.EIO, 99, "/arriving/", FULL),
    ("open", errno.ENOSPC, 1, "/arriving/", FULL),
    ("write", errno.EIO, 1, "/arriving/", FULL),
    ("write", errno.ENOSPC, 1, "/arriving/", FULL),
    ("write", errno.EDQUOT, 1, "/unpublished/", FULL),
    ("write", errno.ESTALE, 1, "/unpublished/", KEPT),
    # The kernel says once that pages are lost: a second flush that succeeds means nothing.
    ("fsync", errno.EIO, 1, "/arriving/", FULL),
    ("fsync", errno.ENOSPC, 1, "/arriving/", FULL),
    ("fsync", errno.EIO, 1, "/unpublished/", KEPT),
    ("link", errno.ESTALE, 2, "/", KEPT),
    ("link", errno.EIO, 99, "/", FULL),
    ("link", errno.ENOSPC, 1, "/unpublished/", FULL),
    ("mkdir", errno.ESTALE, 1, "/", KEPT),
    ("mkdir", errno.EDQUOT, 1, "/", FULL),
    ("statvfs", errno.ESTALE, 2, "/", KEPT),
    ("statvfs", errno.EIO, 99, "/", FULL),
]


@pytest.mark.parametrize(
    ("number", "fault"),
    list(enumerate(FAULTS)),
    ids=[f"{what} {errno.errorcode[code]} {times}" for what, code, times, *_ in FAULTS],
)
def test_promise_1_a_store_that_fails_is_asked_again_or_refuses_and_never_says_yes_in_vain(
    failing: Failing, ring: KeyRing, number: int, fault: tuple[str, int, int, str, int]
) -> None:
    what, code, times, where, told = fault
    uid = f"1.2.9.{number}"
    images = [image(n, study=uid, series=f"{uid}.1") for n in (1, 2)]
    for one in images:
        file_of(one)  # puts the meta header on it
    failing.plan.write_text(f"{what} {code} {times} {where}\n")
    first = failing.send(images[0])
    failing.plan.write_text("")
    assert first == [told]
    reason = "store_full" if code in (errno.ENOSPC, errno.EDQUOT) else "store_failed"
    refused = [line for line in failing.gateways.log("gateway-1").splitlines() if "refused" in line]
    assert told == KEPT or f"reason={reason}" in refused[-1]
    assert list((failing.gateways.store._root / "arriving").iterdir()) == []
    again = [images[1]] if told == KEPT else images
    assert failing.send(*again) == [KEPT] * len(again)
    wanted = {instance_name(ring.pseudonym, f"{uid}.1.{n}") for n in (1, 2)}
    events = failing.published.until(
        lambda events: any(e.study_uid == uid and set(e.names()) == wanted for e in events)
    )
    assert not any(event.other_bytes for event in events if event.study_uid == uid)


def test_a_store_that_cannot_be_listed_for_a_while_stops_neither_door_nor_upkeep(
    failing: Failing,
) -> None:
    failing.plan.write_text(f"opendir {errno.ESTALE} 40 /\n")
    made = image(1, study="1.2.8", series="1.2.8.1")
    file_of(made)
    failing.send(made)
    failing.plan.write_text("")
    assert failing.send(made) == [KEPT]
    failing.published.until(lambda events: any(event.study_uid == "1.2.8" for event in events))
    metrics = failing.ready["metrics"]
    port = metrics if isinstance(metrics, int) else str(metrics).rsplit(":", 1)[1].split("/")[0]
    assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code == 200
