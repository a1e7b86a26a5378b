"""An integrator's afternoon: senders that are not ours, on a running `vigie demo --empty`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psycopg
import pytest
from pydicom.dataset import Dataset

from infra.embedded import free_port
from tests.streams.dicom.conftest import file_of, image
from tests.streams.hl7.conftest import order, report
from tests.system.conftest import ROOT, Demo
from triage.phantoms import heads


def send_hl7(running: Demo, message: bytes, folder: Path) -> str:
    """By python-hl7's own sender; the answer's MSA."""
    host, port = running.ready["mllp"].split(":")
    file = folder / "message.hl7"
    file.write_bytes(b"\x0b" + message + b"\x1c\r")
    done = subprocess.run(
        [str(Path(sys.executable).parent / "mllp_send"), "-f", str(file), "-p", port, host],
        capture_output=True,
        timeout=30,
        check=True,
    )
    return re.findall(rb"MSA\|([A-Z]{2})", done.stdout)[0].decode()


def send_dicom(running: Demo, files: list[bytes], folder: Path) -> None:
    """By dcmtk's storescu, in one association."""
    target = folder / "send"
    target.mkdir()
    for number, content in enumerate(files):
        (target / f"{number}.dcm").write_bytes(content)
    host, port = running.ready["dicom"]["address"].split(":")
    subprocess.run(
        ["storescu", "-aec", "VIGIE", "+sd", "-R", host, port, str(target)],
        capture_output=True,
        timeout=60,
        check=True,
    )


def of(number: str, **more: object) -> Dataset:
    return image(
        study=f"1.2.{number}",
        series=f"1.2.{number}.1",
        AccessionNumber=f"X{number}",
        PatientID=f"PX{number}",
        **more,
    )


def order_of(number: str, control: str = "NW") -> bytes:
    return (
        order(control, accession=f"X{number}", id=f"M{number}{control}", name="Doe^Jane")
        .replace(b"P1^", f"PX{number}^".encode())
        .replace(b"1.2.3^", f"1.2.{number}^".encode())
        .replace(b"FI1", f"F{number}".encode())
        .replace(b"19500102", b"")
    )


@pytest.mark.needs("storescu")
def test_an_order_and_its_images_are_one_row(empty_demo: Demo, tmp_path: Path) -> None:
    assert send_hl7(empty_demo, order_of("41"), tmp_path) == "AA"
    (row,) = empty_demo.until(lambda rows: len(rows) == 1, accession="X41")
    assert (row["state"], row["lane"], row["ai"]) == ("expected", 3, "pending")
    send_dicom(empty_demo, [file_of(of("41"))], tmp_path)
    (row,) = empty_demo.until(
        lambda rows: [row["state"] for row in rows] == ["readable"], accession="X41"
    )
    assert (row["study_uid"], row["patient_name"], row["lane"]) == ("1.2.41", "Doe^Jane", 1)
    assert [item["study"] for item in empty_demo.rows(study_uid="1.2.41")] == [row["study"]]
    empty_demo.until(lambda rows: rows[0]["ai"] == "not_analysed", accession="X41")


@pytest.mark.needs("storescu")
def test_images_first_then_the_order_then_the_report(empty_demo: Demo, tmp_path: Path) -> None:
    send_dicom(empty_demo, [file_of(of("42"))], tmp_path)
    empty_demo.until(lambda rows: len(rows) == 1, accession="X42")
    assert send_hl7(empty_demo, order_of("42"), tmp_path) == "AA"
    (row,) = empty_demo.until(lambda rows: [row["lane"] for row in rows] == [1], accession="X42")
    final = report().replace(b"A1", b"X42").replace(b"P1^", b"PX42^")
    assert send_hl7(empty_demo, final, tmp_path) == "AA"
    empty_demo.until(lambda rows: rows == [], accession="X42")
    (row,) = empty_demo.until(lambda rows: len(rows) == 1, accession="X42", state="all")
    assert row["state"] == "final"


def test_an_ehr_s_orders_and_images_come_through_the_http_door(empty_demo: Demo) -> None:
    """FHIR for the order, STOW-RS for its image, JSON for its report."""
    door = httpx.Client(
        base_url=empty_demo.ready["door"],
        headers={"Authorization": f"Bearer {empty_demo.ready['token']}"},
        timeout=30,
    )
    number = {"type": {"coding": [{"code": "ACSN"}]}, "value": "X45"}
    patient = {"identifier": {"value": "PX45"}}
    order = {"resourceType": "ServiceRequest", "status": "active", "intent": "order"}
    order |= {"priority": "stat", "subject": patient, "identifier": [number]}
    assert door.post("/fhir/ServiceRequest", json=order).status_code == 201
    empty_demo.until(lambda rows: [row["state"] for row in rows] == ["expected"], accession="X45")
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file_of(of("45")) + b"\r\n--b--"
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
    assert door.post("/dicomweb/studies", content=part, headers=kind).status_code == 200
    (row,) = empty_demo.until(
        lambda rows: [row["state"] for row in rows] == ["readable"], accession="X45"
    )
    assert (row["lane"], row["study_uid"]) == (1, "1.2.45")
    report = {"accession": {"value": "X45"}, "status": "final"}
    report["patient"] = {"number": {"value": "PX45"}}
    assert door.post("/v1/reports", json=report).status_code == 200
    empty_demo.until(lambda rows: rows == [], accession="X45")
    door.close()


def test_tests_and_nonsense_make_no_row(empty_demo: Demo, tmp_path: Path) -> None:
    assert send_hl7(empty_demo, order_of("43").replace(b"|P|2.5.1", b"|T|2.5.1"), tmp_path) == "AA"
    assert send_hl7(empty_demo, order_of("43").replace(b"ORM^O01", b"DFT^P03"), tmp_path) == "AE"
    assert send_hl7(empty_demo, order_of("44"), tmp_path) == "AA"
    empty_demo.until(lambda rows: len(rows) == 1, accession="X44")
    assert empty_demo.rows(accession="X43", state="all") == []


def test_every_process_has_its_metrics(empty_demo: Demo) -> None:
    texts = [httpx.get(address, timeout=10).text for address in empty_demo.ready["metrics"]]
    assert len(texts) == 4
    for text in texts:
        assert "vigie_" in text
        assert "Doe" not in text


def test_the_database_is_one_that_psql_can_read(empty_demo: Demo) -> None:
    with psycopg.connect(empty_demo.ready["database"]) as connection:
        (count,) = connection.execute("SELECT count(*) FROM item").fetchone() or (0,)
    assert count >= 0


def head_ct(number: str, bleed: str | None) -> list[bytes]:
    """A phantom's slices as files."""
    volume = heads.head_ct(np.random.default_rng(7), bleed, slices=28)
    return [
        file_of(
            image(
                index,
                study=f"1.2.{number}",
                series=f"1.2.{number}.1",
                AccessionNumber=f"X{number}",
                PatientID=f"PX{number}",
                ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
                BodyPartExamined="HEAD",
                StudyDescription="CT head",
                ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
                ImagePositionPatient=["-115", "-115", str(5 * index)],
                SliceThickness="5",
                PixelSpacing=["0.9", "0.9"],
                Rows=plane.shape[0],
                Columns=plane.shape[1],
                RescaleIntercept="-1024",
                RescaleSlope="1",
                InstanceNumber=index,
                PixelData=(plane.astype(np.int32) + 1024).astype(np.uint16).tobytes(),
            )
        )
        for index, plane in enumerate(volume, 1)
    ]


@pytest.mark.needs("storescu", "chromium")
def test_a_flagged_study_rises_and_the_page_shows_it(empty_demo: Demo, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    for number, bleed in (("51", None), ("52", "intraparenchymal")):
        folder = tmp_path / number
        folder.mkdir()
        assert (
            send_hl7(
                empty_demo,
                order_of(number).replace(b"^^S|", b"^^R|").replace(b"PV1|1|E", b"PV1|1|O"),
                folder,
            )
            == "AA"
        )
        send_dicom(empty_demo, head_ct(number, bleed), folder)
    (flagged,) = empty_demo.until(
        lambda rows: [row["ai"] for row in rows] == ["flagged"], accession="X52"
    )
    empty_demo.until(lambda rows: [row["ai"] for row in rows] == ["not_flagged"], accession="X51")
    names = [row["accession"] for row in empty_demo.rows()]
    assert names.index("X52") < names.index("X51")  # received later, read sooner
    assert any("RID4700" in term["term"] for term in flagged["why"])
    with sync_playwright() as tool:
        chromium = tool.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1400, "height": 800})
        page.goto(empty_demo.ready["http"])
        page.wait_for_selector("text=X52")
        text = page.inner_text("body")
        chromium.close()
    assert text.index("X52") < text.index("X51")
    assert "Intracranial haemorrhage" in text


@pytest.mark.needs("Orthanc")
def test_a_pacs_forwards_a_study(empty_demo: Demo, tmp_path: Path) -> None:
    """Orthanc, as a PACS that routes what it stores."""
    host, port = empty_demo.ready["dicom"]["address"].split(":")
    http = free_port()
    config = {
        "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "HttpPort": http,
        "DicomPort": free_port(),
        "AuthenticationEnabled": False,
        "Plugins": [],
        "DicomModalities": {"vigie": ["VIGIE", host, int(port)]},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(config))
    with (tmp_path / "orthanc.log").open("wb") as log:
        orthanc = subprocess.Popen(
            ["Orthanc", str(tmp_path / "orthanc.json")], stdout=log, stderr=log
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{http}", timeout=30) as client:
            end = time.monotonic() + 30
            while True:
                try:
                    client.get("/system").raise_for_status()
                    break
                except httpx.HTTPError:
                    assert time.monotonic() < end, (tmp_path / "orthanc.log").read_text()
                    time.sleep(0.2)
            stored = client.post("/instances", content=file_of(of("61"))).raise_for_status().json()
            sent = (
                client.post("/modalities/vigie/store", json=[stored["ID"]])
                .raise_for_status()
                .json()
            )
        assert sent["FailedInstancesCount"] == 0
    finally:
        orthanc.terminate()
        orthanc.wait(20)
    (row,) = empty_demo.until(
        lambda rows: [row["state"] for row in rows] == ["readable"], accession="X61"
    )
    assert row["study_uid"] == "1.2.61"


#: What differs from run to run: when it happened, and the names that were given.
_OF_THIS_RUN = re.compile(r"study|key|policy|overtaken_until|.*_at")


@pytest.mark.needs("storescu")
def test_the_examples_make_the_row_that_they_show(empty_demo: Demo, tmp_path: Path) -> None:
    examples = ROOT / "infra" / "examples"
    shown = json.loads((examples / "row.json").read_text())
    assert send_hl7(empty_demo, (examples / "order.hl7").read_bytes(), tmp_path) == "AA"
    send_dicom(empty_demo, [(examples / "image.dcm").read_bytes()], tmp_path)
    (row,) = empty_demo.until(
        lambda rows: [row["ai"] for row in rows] == ["flagged"], accession=shown["accession"]
    )
    assert row.keys() == shown.keys()
    assert {key: value for key, value in row.items() if not _OF_THIS_RUN.fullmatch(key)} == {
        key: value for key, value in shown.items() if not _OF_THIS_RUN.fullmatch(key)
    }
