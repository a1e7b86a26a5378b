"""A reconciler whose words are kept, and a real archive that others wrote."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.embedded import free_port
from streams.archive.reconciling import Reconciler
from streams.events import decode
from streams.identity.seal import KeyRing
from streams.storage.store import Store
from tests.conftest import DICOMWEB_PLUGIN
from tests.streams.dicom.conftest import Site, settings_for

NOW = datetime(2026, 3, 14, 12, 0, tzinfo=UTC)


class Said:
    """A publisher that keeps what it was given."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def publish_sync(self, topic: str, key: str, value: bytes) -> None:
        assert topic == "series"
        self.values.append(value)

    @property
    def events(self) -> list[Any]:
        return [decode(value) for value in self.values]


Make = Callable[..., tuple[Reconciler, Said, Store]]


@pytest.fixture
def make(tmp_path: Path, ring: KeyRing) -> Make:
    def made(archive: str, now: datetime = NOW, **more: object) -> Any:
        settings = settings_for(tmp_path, "unused", archive=archive, **more)
        store, said = Store(settings.store, min_free=0.0), Said()
        return Reconciler(settings, Site(), ring, said, store, lambda: now), said, store

    return made


@dataclass(frozen=True)
class Orthanc:
    """Where it is asked."""

    rest: int
    dicom: int

    def request(self, method: str, path: str, body: bytes = b"") -> int:
        """The status of its own API. Raises OSError where it does not listen."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rest, timeout=10)
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        finally:
            connection.close()

    def upload(self, data: bytes) -> None:
        """By its own API."""
        assert self.request("POST", "/instances", data) == 200


def started(folder: Path) -> tuple[Orthanc, subprocess.Popen[bytes]]:
    """One that listens; on other ports where somebody else was quicker to take the first ones."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        ports = Orthanc(free_port(), free_port())
        configuration = {
            "Name": "pacs",
            "StorageDirectory": str(folder / "orthanc"),
            "HttpPort": ports.rest,
            "DicomPort": ports.dicom,
            "DicomAet": "PACS",
            "DicomAlwaysAllowFind": True,
            "AuthenticationEnabled": False,
            "Plugins": [str(DICOMWEB_PLUGIN)] if DICOMWEB_PLUGIN.exists() else [],
        }
        file = folder / "orthanc.json"
        file.write_text(json.dumps(configuration))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(["Orthanc", str(file)], stdout=log, stderr=log)
        while process.poll() is None and time.monotonic() < end:
            with suppress(OSError):
                assert ports.request("GET", "/system") == 200
                return ports, process
            time.sleep(0.1)
        process.kill()
        process.wait()
    raise AssertionError(f"Orthanc did not start: {(folder / 'log').read_text()[-2000:]}")


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """Debian's Orthanc, with DICOMweb where that plugin is there."""
    ports, process = started(tmp_path)
    yield ports
    process.terminate()
    process.wait(20)
