"""A RIS and modalities: they send through the real doors until they are answered yes."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE

from infra.demo.case import Case

_START, _END = b"\x0b", b"\x1c\r"
_ANSWER_S = 15.0
#: C-STORE: kept; kept, and the sender is warned that the object is damaged.
_KEPT = frozenset({0x0000, 0xB007})
_PAUSE_S = 0.3


@dataclass
class Tally:
    """What was sent and what was answered, by kind; shared by threads."""

    sent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, which: str, kind: str) -> None:
        """One more of `kind`; `which` is ``sent``, ``answered`` or ``retried``."""
        with self._lock:
            getattr(self, which)[kind] += 1


class MllpSender:
    """One interface engine: a kept connection, one message at a time, its answer awaited."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._where = (host, int(port))
        self._socket: socket.socket | None = None

    def send(self, message: bytes) -> str:
        """The code of the answer's MSA (AA, AE, AR). Raises OSError when there was none."""
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._where, timeout=_ANSWER_S)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(_START + message + _END)
            answer = b""
            while not answer.endswith(_END):
                part = self._socket.recv(65536)
                if not part:
                    raise ConnectionResetError("closed before the answer")
                answer += part
        except OSError:
            self.close()
            raise
        for segment in answer.strip(_START + _END).split(b"\r"):
            if segment.startswith(b"MSA|"):
                return segment.split(b"|")[1].decode("ascii", "replace")
        raise ConnectionError("an answer without MSA")

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def deliver(
        self, message: bytes, kind: str, tally: Tally, *, give_up: float, stop: threading.Event
    ) -> bool:
        """Sends until the answer is AA (AR may mean that the receiver is down); False when it never
        was. A bad message is sent once.
        """
        tally.count("sent", kind)
        deadline = time.monotonic() + give_up
        while True:
            try:
                code = self.send(message)
            except OSError:
                code = ""
            if code in ("AA", "CA"):
                tally.count("answered", f"{kind}:AA")
                return True
            if code and kind == "bad_message":
                tally.count("answered", f"{kind}:{code}")
                return False
            if time.monotonic() > deadline or stop.is_set():
                tally.count("answered", f"{kind}:{code or 'none'}")
                return False
            tally.count("retried", kind)
            time.sleep(_PAUSE_S)


class Ehr:
    """An EHR that orders by FHIR.

    Args:
        door: the HTTP door's address.
    """

    def __init__(self, door: str, token: str) -> None:
        self._address = door.removeprefix("http://")
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/fhir+json",
        }

    def deliver(
        self, case: Case, kind: str, tally: Tally, *, give_up: float, stop: threading.Event
    ) -> bool:
        """Sends the order of `case` until the answer is positive; False when it never was."""
        tally.count("sent", kind)
        body = json.dumps(_service_request(case))
        deadline = time.monotonic() + give_up
        while True:
            status = self._post(body)
            if status in (200, 201):
                tally.count("answered", f"{kind}:{status}")
                return True
            if time.monotonic() > deadline or stop.is_set():
                tally.count("answered", f"{kind}:{status or 'none'}")
                return False
            tally.count("retried", kind)
            time.sleep(_PAUSE_S)

    def _post(self, body: str) -> int:
        connection = http.client.HTTPConnection(self._address, timeout=_ANSWER_S)
        try:
            connection.request("POST", "/fhir/ServiceRequest", body, self._headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def _service_request(case: Case) -> dict[str, Any]:
    who = case.patient
    patient = {
        "resourceType": "Patient",
        "id": "patient",
        "identifier": [{"system": "DEMO", "value": who.id}],
        "name": [{"family": who.family, "given": [who.given]}],
    }
    return {
        "resourceType": "ServiceRequest",
        "contained": [patient],
        "status": "active",
        "intent": "order",
        "priority": _PRIORITIES.get(case.priority, "routine"),
        "identifier": [{"type": {"coding": [{"code": "ACSN"}]}, "value": case.accession}],
        "subject": {"reference": "#patient"},
    }


_PRIORITIES = {"S": "stat", "A": "asap"}


class Modality:
    """One scanner: an association per series, each instance sent until it is answered 0x0000."""

    def __init__(self, address: str, called: str, calling: str = "DEMO") -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port, self._called = host, int(port), called
        self._calling = calling

    def store(self, images: Sequence[Dataset]) -> list[int]:
        """The status of each image of one association; shorter than `images` when the association
        broke off.
        """
        ae = AE(ae_title=self._calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = _ANSWER_S
        for sop_class, syntax in {
            (image.SOPClassUID, image.file_meta.TransferSyntaxUID) for image in images
        }:
            ae.add_requested_context(sop_class, syntax)
        association = ae.associate(self._host, self._port, ae_title=self._called)
        statuses: list[int] = []
        if not association.is_established:
            return statuses
        try:
            for image in images:
                status = association.send_c_store(image)
                if "Status" not in status:
                    break
                statuses.append(int(status.Status))
        except (RuntimeError, ValueError):
            # pynetdicom says so when the association was lost, or the context refused.
            return statuses
        finally:
            if association.is_established:
                association.release()
        return statuses

    def deliver(
        self,
        images: Sequence[Dataset],
        kind: str,
        tally: Tally,
        *,
        give_up: float,
        stop: threading.Event,
    ) -> bool:
        """Sends what was not yet answered 0x0000 until all are, or the gateway says that it never
        will.
        """
        left = list(images)
        for _ in left:
            tally.count("sent", kind)
        deadline = time.monotonic() + give_up
        while True:
            statuses = self.store(left)
            again = []
            for image, status in zip(left, statuses, strict=False):
                if status in _KEPT or status >= 0xA800:
                    tally.count("answered", f"{kind}:{status:04X}")
                else:
                    again.append(image)
            left = again + left[len(statuses) :]
            if not left:
                return all(status in _KEPT for status in statuses)
            if time.monotonic() > deadline or stop.is_set():
                for _ in left:
                    tally.count("answered", f"{kind}:none")
                return False
            tally.count("retried", kind)
            time.sleep(_PAUSE_S)
