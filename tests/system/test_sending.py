"""An integrator's own tools on a running demo: what was sent, what came of it, why it was not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from tests.streams.dicom.conftest import file_of, image
from tests.streams.hl7.conftest import order
from tests.system.conftest import ROOT, Demo
from tests.worklist.web_client import wait_for


def vigie(running: Demo, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *words, "--ready", str(running.file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_was_sent_is_shown_with_its_row_and_what_was_refused_with_its_shape(
    empty_demo: Demo, tmp_path: Path
) -> None:
    good, bad, film = tmp_path / "good.hl7", tmp_path / "bad.hl7", tmp_path / "one.dcm"
    good.write_bytes(order(accession="X81", id="M81").replace(b"1.2.3^", b"1.2.81^"))
    bad.write_bytes(order("ZZ", id="M82"))
    film.write_bytes(file_of(image(study="1.2.81", series="1.2.81.1", AccessionNumber="X81")))
    done = vigie(empty_demo, "send", str(good), str(film))
    assert done.returncode == 0, done.stderr
    assert "AA M81" in done.stdout
    assert f"0000 {film}" in done.stdout
    assert done.stdout.count("'accession': 'X81'") == 2
    refused = vigie(empty_demo, "send", str(bad))
    assert (refused.returncode, refused.stdout.startswith("AE M82")) == (1, True)
    ready = empty_demo.ready
    headers = {"authorization": f"Bearer {ready['token']}"}

    def kept() -> list[str]:
        told = httpx.get(f"{ready['http']}/api/v1/senders", headers=headers, timeout=10).json()
        return [
            one["id"]
            for row in told["items"]
            if row["door"] == "mllp" and row["refusals"].get("bad_field")
            for one in row["parked"]
        ]

    wait_for(lambda: bool(kept()), 40)  # gateways speak every ten seconds
    shown = vigie(empty_demo, "parked", "show", kept()[0])
    assert "ORC|ZZ|" in shown.stdout
    assert "Lef" not in shown.stdout
    opened = vigie(empty_demo, "parked", "show", kept()[0], "--open", "--reason", "a test")
    assert "Lefèvre" in opened.stdout
