"""The web process: headers on every answer, metrics, the operations page, an outage and its end."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from streams.identity.seal import KeyRing
from tests.worklist.conftest import Feed, Make
from tests.worklist.web_client import as_role, serving, sign_in, wait_for, web_settings


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/login",
        "/api/v1/worklist",
        "/static/list.js",
        "/nothing",
        "/livez",
        "/metrics",
        "/ops",
    ],
)
def test_security_headers_are_on_every_answer(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert path.startswith("/static") or headers["cache-control"] == "no-store"


def test_nothing_on_the_page_is_inline(client: httpx.Client) -> None:
    sign_in(client)
    html = client.get("/").text
    assert not re.search(
        r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:|https?://", html
    )


def test_metrics_carry_no_identity(client: httpx.Client, make: Make, feed: Feed) -> None:
    feed(make.order())
    sign_in(client)
    told = client.get("/metrics").text
    assert "vigie_feed_clients" in told
    assert "NAME" not in told
    assert "P1" not in told


def test_the_ops_page_shows_depths(client: httpx.Client, make: Make, feed: Feed) -> None:
    feed(make.order())
    sign_in(client, "ops")
    assert re.search(r"Expected: not yet readable</th><td>1</td>", client.get("/ops").text)
    assert client.get("/").status_code == 403


def test_without_the_database_the_page_says_stale_keeps_its_list_and_recovers(
    engine: Engine,
    fragile_url: tuple[str, Path],
    ring: KeyRing,
    tmp_path: Path,
    make: Make,
    feed: Feed,
) -> None:
    url, link = fragile_url
    feed(make.order())
    with serving(web_settings(url, tmp_path, ring)) as (_, client):
        sign_in(client)
        assert client.get("/").status_code == 200
        late = [3, "2999-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "f"]
        end = base64.urlsafe_b64encode(json.dumps(late).encode()).decode()
        past = client.get("/", params={"cursor": end})
        assert past.status_code == 200, "a page after the end is no list that is kept"
        assert "NAME, P1" not in past.text
        real = link.readlink()
        link.unlink()
        with engine.begin() as connection:
            connection.execute(
                text("""SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                                       WHERE pid <> pg_backend_pid() AND datname IS NOT NULL""")
            )
        wait_for(lambda: client.get("/readyz").status_code == 503)
        page = client.get("/")
        assert page.status_code == 503
        assert "Stale: the database cannot be reached" in page.text
        assert 'id="truth" class="truth" data-state="stale"' in page.text
        assert "NAME, P1" in page.text
        answer = client.get("/api/v1/worklist", headers=as_role("reader"))
        assert (answer.status_code, answer.json()["code"]) == (503, "database_down")
        assert client.get("/list").status_code == 503
        link.symlink_to(real)
        wait_for(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/").status_code == 200


def test_pages_and_api_are_compressed_and_the_stream_is_not(
    client: httpx.Client, make: Make, feed: Feed
) -> None:
    feed(*(make.order(f"A{n}", patient=f"P{n}") for n in range(30)))
    sign_in(client)
    for path in ("/", "/list", "/api/v1/worklist"):
        answer = client.get(path, headers=as_role("reader") if "api" in path else {})
        assert answer.headers["content-encoding"] == "gzip", path
        assert answer.num_bytes_downloaded < len(answer.content) / 4
    with client.stream("GET", "/api/v1/events", headers=as_role("reader")) as stream:
        assert "content-encoding" not in stream.headers


def test_a_changed_row_is_small_on_the_wire(client: httpx.Client, make: Make, feed: Feed) -> None:
    wait_for(lambda: client.get("/readyz").status_code == 200)
    before = client.get("/api/v1/changes", headers=as_role("reader")).json()["id"]
    feed(make.series(), make.finding())

    def frames() -> list[object]:
        answer = client.get(f"/api/v1/changes?after={before}", headers=as_role("reader")).json()
        return list(answer["frames"])

    wait_for(lambda: bool(frames()))
    assert all(len(str(frame)) < 5_000 for frame in frames())
