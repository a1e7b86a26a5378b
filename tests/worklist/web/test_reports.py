"""The texts of reports, and what orders say beside, on the study's page and by API."""

from __future__ import annotations

import httpx
from sqlalchemy import Engine, text

from streams.identity.seal import KeyRing, new_ring
from streams.sealed import OrderDetails, ReportText
from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import as_role, sign_in

FINAL = "FINDINGS\n  no <b>bleed</b>\n\ttwo\u202e views"


def sealed(ring: KeyRing, said: ReportText | OrderDetails) -> str:
    return ring.seal(said.model_dump_json().encode())


def study_of(client: httpx.Client) -> str:
    found = client.get("/api/v1/worklist?state=all", headers=as_role("lead")).json()["items"]
    return str(found[0]["study"])


def test_who_may_read_sees_what_a_report_says_and_whom_to_be_careful_with(
    client: httpx.Client, make: Make, feed: Feed, ring: KeyRing, engine: Engine
) -> None:
    careful = OrderDetails(pregnant=True, isolation="contact")
    feed(
        make.order(details=sealed(ring, careful)),
        make.series(accession="A1"),
        make.report(status="preliminary", at=50, text=sealed(ring, ReportText(text="pending"))),
        make.report(at=60, text=sealed(ring, ReportText(text=FINAL))),
        make.report(at=70, text=sealed(ring, ReportText(text=FINAL))),
        make.report(status="addendum", at=80),
    )
    study = study_of(client)
    told = client.get(f"/api/v1/studies/{study}/reports", headers=as_role("reader")).json()
    assert [(one["status"], one["text"]) for one in told["reports"]] == [
        ("preliminary", "pending"),
        ("final", FINAL),
        ("addendum", ""),
    ]
    assert (told["pregnant"], told["isolation"], told["sealed"]) == (True, "contact", False)
    sign_in(client)
    html = client.get(f"/studies/{study}").text
    assert "FINDINGS\n  no &lt;b&gt;bleed&lt;/b&gt;\n    two views" in html
    shown = html.partition('<section class="reports">')[2]
    assert shown.index("preliminary report") < shown.index("final report") < shown.index("addendum")
    assert "No text was sent with it." in html
    assert "Pregnant" in html
    assert "contact" in html
    with engine.connect() as connection:
        opened = connection.scalars(text("SELECT actor FROM audit WHERE act = 'open'")).all()
        assert opened == ["reader1", "reader1"]
        assert (
            connection.scalar(text("SELECT count(*) FROM item WHERE item::text LIKE '%bleed%'"))
            == 0
        )


def test_a_program_and_ops_are_not_told_what_a_report_says(
    client: httpx.Client, make: Make, feed: Feed, ring: KeyRing
) -> None:
    feed(make.order(), make.report(text=sealed(ring, ReportText(text="secret"))))
    where = f"/api/v1/studies/{study_of(client)}/reports"
    for role in ("service", "ops", "admin"):
        assert client.get(where, headers=as_role(role)).status_code == 403
    assert client.get("/api/v1/studies/none/reports", headers=as_role("lead")).status_code == 404


def test_a_study_of_which_a_seal_does_not_open_is_shown_and_says_so(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accession="A1"))
    feed(make.report(text=sealed(new_ring(), ReportText(text="lost"))))
    study = study_of(client)
    told = client.get(f"/api/v1/studies/{study}/reports", headers=as_role("lead")).json()
    assert (told["reports"], told["sealed"]) == ([], True)
    sign_in(client)
    assert "key ring does not open" in client.get(f"/studies/{study}").text


def test_a_study_without_reports_says_nothing_of_them(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(make.order(), make.series(accession="A1"))
    sign_in(client)
    html = client.get(f"/studies/{study_of(client)}").text
    for word in ("Reports", "Pregnant", "Isolation"):
        assert f">{word}<" not in html
