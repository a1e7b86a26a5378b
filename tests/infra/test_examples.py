"""The example's image is what its script draws, of nobody, and small."""

from __future__ import annotations

import pydicom

from infra.examples import make


def test_the_committed_image_is_what_the_script_draws() -> None:
    committed, drawn = pydicom.dcmread(make.TARGET), make.image()
    assert committed == drawn, "draw it anew: .venv/bin/python -m infra.examples.make"


def test_the_image_is_small_and_its_patient_is_the_orders() -> None:
    assert make.TARGET.stat().st_size < 600_000
    order = make.TARGET.with_name("order.hl7").read_text()
    film = pydicom.dcmread(make.TARGET)
    for number in (film.PatientID, film.AccessionNumber, film.StudyInstanceUID, film.PatientName):
        assert str(number) in order
