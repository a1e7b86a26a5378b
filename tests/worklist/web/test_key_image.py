"""The key image is on the study's own page, for readers, while its flag and its pixels stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import as_role, sign_in

PNG = b"\x89PNG\r\n\x1a\n of a head"
SERIES = "ab" * 16 + "/" + "cd" * 16
PLACE = f"{SERIES}/key-{'12' * 8}.png"
READER, LEAD = as_role("reader"), as_role("lead")


@pytest.fixture
def flagged(make: Make, feed: Feed, tmp_path: Path) -> Path:
    """A flagged study whose key image was drawn; the picture's file."""
    file = tmp_path / "key-images" / PLACE
    file.parent.mkdir(parents=True)
    file.write_bytes(PNG)
    series = make.series(accession="A1")
    feed(
        make.order(),
        series,
        make.exam(),
        make.finding(of=series, key_image=PLACE, key_instance="34" * 8),
    )
    return file


def row(client: httpx.Client) -> dict[str, Any]:
    (listed,) = client.get("/api/v1/worklist", headers=READER).json()["items"]
    found: dict[str, Any] = client.get(f"/api/v1/studies/{listed['study']}", headers=READER).json()
    return found


def test_a_flagged_study_s_own_page_shows_it_and_says_that_it_is_no_diagnosis(
    client: httpx.Client, flagged: Path
) -> None:
    url = row(client)["key_image"]
    sign_in(client)
    html = client.get(f"/studies/{row(client)['study']}").text
    assert f'<img src="{url}"' in html
    assert "Informational, not for diagnosis" in html
    french = client.get(f"/studies/{row(client)['study']}?lang=fr").text
    assert "ne pas utiliser pour le diagnostic" in french
    answer = client.get(url)
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    assert answer.headers["cache-control"] == "no-store"


def test_it_is_not_in_the_list(client: httpx.Client, flagged: Path) -> None:
    (listed,) = client.get("/api/v1/worklist", headers=READER).json()["items"]
    assert listed["key_image"] is None
    sign_in(client)
    assert "key-image" not in client.get("/").text


def test_promise_8_neither_its_url_nor_its_place_names_a_patient(
    client: httpx.Client, flagged: Path
) -> None:
    found = row(client)
    assert found["patient_name"] == "NAME^P1"
    assert not any(word in found["key_image"] for word in ("NAME", "P1", SERIES[:32]))


@pytest.mark.parametrize("role", ["service", "ops", None])
def test_who_may_not_read_gets_none(client: httpx.Client, flagged: Path, role: str | None) -> None:
    url = row(client)["key_image"]
    answer = client.get(url, headers=as_role(role) if role else {})
    assert answer.status_code in (401, 403)
    assert PNG not in answer.content


def test_whoever_looks_at_it_is_audited(
    client: httpx.Client, flagged: Path, engine: Engine
) -> None:
    client.get(row(client)["key_image"], headers=READER)
    with engine.connect() as connection:
        seen = connection.execute(
            text("SELECT actor FROM audit WHERE act = 'open' AND detail->>'key_image' = 'true'")
        ).scalars()
        assert list(seen) == ["reader1"]


def test_once_the_pixels_are_gone_so_is_it(client: httpx.Client, flagged: Path) -> None:
    flagged.unlink()
    answer = client.get(row(client)["key_image"], headers=READER)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_withdrawn_flag_takes_it_away(client: httpx.Client, flagged: Path) -> None:
    before = row(client)
    study = f"/api/v1/studies/{before['study']}"
    cleared = client.post(f"{study}/clear-flag", headers=LEAD, json={"reason": "an artefact"})
    assert cleared.status_code == 200, cleared.text
    assert row(client)["key_image"] is None
    assert client.get(before["key_image"], headers=READER).status_code == 404


def test_promise_3_what_a_package_in_shadow_drew_is_not_shown(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    series = make.series(accession="A1")
    feed(make.order(), series, make.exam())
    feed(make.finding(of=series, package="watched", key_image=PLACE))
    assert row(client)["key_image"] is None
