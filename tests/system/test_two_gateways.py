"""Two gateways on one store: what comes by both is one study, and nothing of it is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pynetdicom import AE

from infra.embedded import MockKafka
from streams.identity.seal import KeyRing
from streams.identity.studykey import instance_name
from tests.streams.dicom.conftest import CT, file_of, image
from tests.streams.dicom.test_steps import NO_LONGER, Console, begun, completed, step
from tests.system.gateways import TOKEN, Gateways, Published
from worklist.order.policy import Policy, load

pytestmark = pytest.mark.slow
ORDER = {
    "accession": {"value": "A1"},
    "patient": {"number": {"value": "P1", "authority": "HOSP"}},
    "status": "scheduled",
    "priority": "S",
}


@pytest.fixture
def broker() -> Iterator[str]:
    mock = MockKafka()
    yield mock.address
    mock.stop()


@pytest.fixture
def gateways(tmp_path: Path, broker: str, ring: KeyRing) -> Iterator[Gateways]:
    found = Gateways(tmp_path, broker, ring)
    yield found
    found.stop()


@pytest.fixture
def published(broker: str) -> Iterator[Published]:
    found = Published(broker)
    yield found
    found.close()


@pytest.fixture
def policy(gateways: Gateways, tmp_path: Path) -> Policy:
    return load(tmp_path / "site")


def dataset(number: int, **more: object) -> Any:
    made = image(number, **more)
    file_of(made)  # puts the meta header on it
    return made


class Sender:
    """One association, as long as its gateway lives."""

    def __init__(self, port: int) -> None:
        ae = AE(ae_title="CT")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
        ae.add_requested_context(CT, "1.2.840.10008.1.2.1")
        self.association = ae.associate("127.0.0.1", port, ae_title="VIGIE")
        assert self.association.is_established
        self._socket = self.association.dul.socket.socket

    def send(self, made: Any) -> int | None:
        """The status; None where no answer came."""
        if not self.association.is_established:
            return None
        answer = self.association.send_c_store(made)
        return answer.Status if "Status" in answer else None

    def close(self) -> None:
        if self.association.is_established:
            self.association.release()
        self._socket.close()  # pynetdicom forgets it where the other side was killed


def together(*works: Any) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def named(ring: KeyRing, numbers: range) -> set[str]:
    return {instance_name(ring.pseudonym, f"1.2.3.4.{number}") for number in numbers}


def test_promise_1_a_series_over_two_gateways_of_which_one_is_killed_is_one_study_and_whole(
    gateways: Gateways, published: Published, ring: KeyRing, policy: Policy
) -> None:
    """Who gets no answer sends again, by the other gateway."""
    first, one = gateways.start("gateway-1")
    _, other = gateways.start("gateway-2")
    ports = [int(ready["dicom"]) for ready in (one, other)]
    senders = [Sender(port) for port in ports]
    unanswered: list[int] = []

    def bring(sender: Sender, numbers: range, dies_after: int) -> None:
        for place, number in enumerate(numbers):
            if place == dies_after:
                first.kill()
            if sender.send(dataset(number)) != 0:
                unanswered.append(number)

    together(
        lambda: bring(senders[0], range(1, 41, 2), 10),
        lambda: bring(senders[1], range(2, 41, 2), 99),
    )
    first.wait()
    assert 0 < len(unanswered) <= 10
    again = Sender(ports[1])
    assert [again.send(dataset(number)) for number in sorted(unanswered)] == [0] * len(unanswered)
    for sender in (again, *senders):
        sender.close()
    whole = named(ring, range(1, 41))
    published.until(lambda events: any(set(event.names()) == whole for event in events))
    (row,) = published.rows(ring, policy)
    assert (row.uid, row.images_here, row.state) == ("1.2.3", 40, "readable")
    (reference,) = {event.reference for event in published.events}
    assert set(gateways.store.instances(reference)) == whole
    assert "other_bytes" not in row.marks
    gateways.start("gateway-1")  # it takes up what it left
    published.until(lambda _: not list(gateways.store.unpublished()))
    assert published.rows(ring, policy)[0].images_here == 40


def test_the_same_images_by_both_at_one_moment_are_there_once(
    gateways: Gateways, published: Published, ring: KeyRing, policy: Policy
) -> None:
    senders = [Sender(int(gateways.start(f"gateway-{n}")[1]["dicom"])) for n in (1, 2)]
    statuses: list[int | None] = []
    meet = threading.Barrier(2)

    def bring(sender: Sender) -> None:
        for number in range(1, 16):
            meet.wait(30)
            statuses.append(sender.send(dataset(number)))

    together(*(lambda sender=sender: bring(sender) for sender in senders))
    for sender in senders:
        sender.close()
    assert statuses == [0] * 30
    whole = named(ring, range(1, 16))
    published.until(lambda events: any(set(event.names()) == whole for event in events))
    published.until(lambda _: not list(gateways.store.unpublished()))
    (row,) = published.rows(ring, policy)
    assert row.images_here == 15
    assert "other_bytes" not in row.marks
    assert set(gateways.store.instances(published.events[0].reference)) == whole


def test_one_number_with_other_bytes_by_both_at_one_moment_keeps_both(
    gateways: Gateways, published: Published, ring: KeyRing, policy: Policy
) -> None:
    senders = [Sender(int(gateways.start(f"gateway-{n}")[1]["dicom"])) for n in (1, 2)]
    meet = threading.Barrier(2)

    def bring(sender: Sender, pixel: int) -> None:
        meet.wait(30)
        assert sender.send(dataset(1, PixelData=bytes([pixel]) * 32)) == 0

    together(*(lambda s=sender, p=place: bring(s, p) for place, sender in enumerate(senders)))
    for sender in senders:
        sender.close()
    published.until(lambda events: any(event.other_bytes for event in events))
    (row,) = published.rows(ring, policy)
    assert "other_bytes" in row.marks
    assert row.images_here == 1
    reference = published.events[0].reference
    kept = [gateways.store.path(reference, n) for n in gateways.store.instances(reference)]
    assert len({path.read_bytes() for path in kept}) == 2


def test_a_request_that_is_repeated_at_the_other_gateway_has_no_second_effect(
    gateways: Gateways, published: Published, ring: KeyRing, policy: Policy
) -> None:
    """Its balancer may send a repetition elsewhere: the same body is the same events."""
    doors = [f"http://127.0.0.1:{gateways.start(f'gateway-{n}')[1]['door']}" for n in (1, 2)]
    headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "k1"}

    def post(door: str) -> Any:
        answer = httpx.post(f"{door}/v1/orders", json=ORDER, headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["events"]

    with ThreadPoolExecutor(4) as hands:
        told = list(hands.map(post, [*doors, *doors]))
    assert len({tuple(events) for events in told}) == 1
    published.until(lambda events: len(events) >= 2)
    (row,) = published.rows(ring, policy)
    assert row.accessions == ("A1",)


def test_a_step_that_begins_at_one_gateway_ends_at_the_other(
    gateways: Gateways, published: Published, ring: KeyRing, policy: Policy
) -> None:
    first, one = gateways.start("gateway-1")
    _, other = gateways.start("gateway-2")
    console = Console(int(one["dicom"]))
    assert console.create(begun()) == 0
    console.association.release()
    first.kill()
    first.wait()
    console = Console(int(other["dicom"]))
    assert console.create(begun()) == 0  # the console thinks that it was not heard
    assert console.set(completed(SimpleNamespace(CT=CT))) == 0
    assert console.set(step("DISCONTINUED")) == NO_LONGER
    console.association.release()
    published.until(lambda events: {e.status for e in events} == {"in_progress", "completed"})
    (row,) = published.rows(ring, policy)
    assert (row.uid, row.accessions, row.state, row.images_announced) == (
        "1.2.3",
        ("A1",),
        "arriving",
        1,
    )
