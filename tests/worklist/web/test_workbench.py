"""The workbench by API and CLI: for leads, and without names where nobody signed in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from streams.identity.seal import KeyRing, write_ring
from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import as_role
from worklist.commands import app


def test_a_lead_is_told_what_does_not_fit_together(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.series("1.77", accession="A77"))
    lead = as_role("lead")
    kinds = client.get("/api/v1/workbench", headers=lead).json()["items"]
    assert {one["kind"]: one["count"] for one in kinds}["images-without-order"] == 1
    rows = client.get("/api/v1/workbench/images-without-order", headers=lead).json()["items"]
    assert [row["accession"] for row in rows] == ["A77"]
    assert client.get("/api/v1/workbench/nonsense", headers=lead).status_code == 422
    for role in ("reader", "service", "ops"):
        assert client.get("/api/v1/workbench", headers=as_role(role)).status_code == 403


@pytest.fixture
def _site(engine: Engine, ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command needs: the database, and the keys."""
    monkeypatch.setenv("VIGIE_DATABASE", engine.url.render_as_string(hide_password=False))
    for name in ("VIGIE_KEYS", "VIGIE_ACT_KEYS"):
        write_ring(ring, tmp_path / name)
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.mark.usefixtures("_site")
def test_the_command_tells_the_same_without_a_name(make: Make, feed: Feed) -> None:
    feed(make.series("1.77", accession="A77"))
    counts = CliRunner().invoke(app, ["workbench"])
    assert counts.exit_code == 0, counts.output
    told = [json.loads(line) for line in counts.stdout.splitlines()]
    assert {one["kind"]: one["count"] for one in told}["images-without-order"] == 1
    rows = CliRunner().invoke(app, ["workbench", "images-without-order"])
    (row,) = map(json.loads, rows.stdout.splitlines())
    assert row["accessions"] == ["A77"]
    assert not {"patient_name", "patient_id", "birth_date"} & set(row)
    assert CliRunner().invoke(app, ["workbench", "nonsense"]).exit_code == 2


BLOOD = {"imaging": False, "description": "Blood count", "procedure": "HB", "priority": "stat"}


def off_list(client: httpx.Client) -> list[dict[str, Any]]:
    found = client.get("/api/v1/workbench/non-imaging-orders", headers=as_role("lead"))
    assert found.status_code == 200, found.text
    items: list[dict[str, Any]] = found.json()["items"]
    return items


def on_list(client: httpx.Client) -> list[str]:
    found = client.get("/api/v1/worklist?state=all", headers=as_role("reader")).json()["items"]
    return [row["accession"] for row in found]


def test_an_order_that_a_rule_hides_is_seen_and_a_person_brings_it_up(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order("A7", **BLOOD), make.order("A8", **BLOOD, at=5), make.order("A9"))
    assert on_list(client) == ["A9"]
    newest, older = off_list(client)
    assert (newest["accessions"], older["accessions"]) == (["A8"], ["A7"])
    assert (older["patient_name"], older["procedure"], older["order_class"]) == (
        "NAME^P1",
        "HB",
        "stat",
    )
    reader = as_role("reader")
    where = f"/api/v1/studies/{older['study']}/promote"
    assert client.post(where, headers=reader, json={}).status_code == 422  # why?
    done = client.post(where, headers=reader, json={"reason": "it is a CT"})
    assert done.status_code == 200, done.text
    assert sorted(on_list(client)) == ["A7", "A9"]
    assert [row["accessions"] for row in off_list(client)] == [["A8"]]
    again = client.post(where, headers=reader, json={"reason": "it is a CT"})
    assert (again.status_code, again.json()["code"]) == (409, "not_historic")
    counts = client.get("/api/v1/workbench", headers=as_role("lead")).json()["items"]
    assert {one["kind"]: one["count"] for one in counts}["non-imaging-orders"] == 1


def test_what_was_brought_up_stays_up_whatever_its_sender_says_next(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order("A7", **BLOOD))
    (hidden,) = off_list(client)
    body = {"reason": "it is a CT"}
    done = client.post(
        f"/api/v1/studies/{hidden['study']}/promote", headers=as_role("reader"), json=body
    )
    feed(make.order("A7", **BLOOD, at=30))
    assert on_list(client) == ["A7"]
    undone = client.post(
        f"/api/v1/studies/{done.json()['study']}/undo", headers=as_role("reader"), json={}
    )
    assert undone.status_code == 200, undone.text
    assert on_list(client) == []
    assert len(off_list(client)) == 1


def test_an_order_of_which_its_sender_says_later_that_it_is_no_imaging_leaves_the_list(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order("A7", procedure="HB"))
    (row,) = client.get("/api/v1/worklist", headers=as_role("reader")).json()["items"]
    feed(make.order("A7", **BLOOD, at=30))
    assert on_list(client) == []
    assert len(off_list(client)) == 1
    gone = client.get(f"/api/v1/studies/{row['study']}", headers=as_role("reader"))
    assert gone.status_code == 404
    feed(make.order("A7", imaging=True, at=60))
    assert on_list(client) == ["A7"]


def test_an_image_brings_it_up_and_off_the_workbench(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order("A7", **BLOOD))
    (hidden,) = off_list(client)
    feed(make.series("1.7", accession="A7"))
    assert off_list(client) == []
    refused = client.post(
        f"/api/v1/studies/{hidden['study']}/promote",
        headers=as_role("reader"),
        json={"reason": "it is a CT"},
    )
    assert (refused.status_code, refused.json()["code"]) == (409, "not_historic")


@pytest.mark.usefixtures("_site")
def test_the_command_tells_hidden_orders_without_a_name(make: Make, feed: Feed) -> None:
    feed(make.order("A7", **BLOOD))
    rows = CliRunner().invoke(app, ["workbench", "non-imaging-orders"])
    assert rows.exit_code == 0, rows.output
    (row,) = map(json.loads, rows.stdout.splitlines())
    assert (row["accessions"], row["procedure"]) == (["A7"], "HB")
    assert not {"patient_name", "patient_id", "birth_date"} & set(row)
