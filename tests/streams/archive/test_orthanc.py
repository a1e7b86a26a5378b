"""Orthanc, an archive that we did not write, is asked what it has: by C-FIND and by QIDO-RS."""

from __future__ import annotations

import pytest

from streams.archive.reconciling import Pass
from streams.identity.seal import KeyRing
from tests.streams.archive.conftest import Make, Orthanc
from tests.streams.dicom.conftest import file_of, image


@pytest.mark.parametrize(
    "way",
    [
        pytest.param("C-FIND", marks=pytest.mark.needs("Orthanc")),
        pytest.param("QIDO-RS", marks=pytest.mark.needs("Orthanc", "orthanc-dicomweb")),
    ],
)
def test_orthanc_says_what_it_has_and_it_is_said_once(
    way: str, make: Make, orthanc: Orthanc, ring: KeyRing
) -> None:
    for number in (1, 2):
        orthanc.upload(file_of(image(number)))
    orthanc.upload(file_of(image(1, study="1.2.4", series="1.2.4.1", AccessionNumber="A2")))
    orthanc.upload(file_of(image(1, study="1.2.5", series="1.2.5.1", StudyDate="20260301")))
    archive = {
        "C-FIND": f"PACS@127.0.0.1:{orthanc.dicom}",
        "QIDO-RS": f"PACS@http://127.0.0.1:{orthanc.rest}/dicom-web",
    }[way]
    reconciler, said, _ = make(archive)
    assert reconciler.once(dry=True) == Pass(found=2, missing=2, changed=2)
    assert said.values == []
    assert reconciler.once(dry=False) == Pass(found=2, missing=2, changed=2)
    first, other = sorted(said.events, key=lambda event: -event.announced_instances)
    assert {number.value for number in first.numbers} == {"1.2.3", "A1"}
    assert {number.value for number in other.numbers} == {"1.2.4", "A2"}
    assert (first.status, first.announced_instances) == ("available", 2)
    who = ring.open_identity(first.identity or "")
    assert (who.name, who.patient_id, who.issuer) == ("LEFÈVRE^Zoé", "P1", "HOSP")
    assert reconciler.once(dry=False).changed == 0
    orthanc.upload(file_of(image(3)))
    assert reconciler.once(dry=False).changed == 1
    assert said.events[-1].announced_instances == 3
