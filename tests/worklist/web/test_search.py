"""Searching by page and API: words in the session and in no URL, facets in the URL, all said."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.worklist.conftest import Feed, Make
from tests.worklist.web.conftest import Opened, names
from tests.worklist.web_client import as_role, sign_in, wait_for

OURS = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def filled(make: Make, feed: Feed) -> None:
    feed(make.series("1.1.1.1.1", patient="P1/19610204/Lefèvre^Zoé"), make.finding("1.1.1.1.1"))
    feed(make.series("1.1.1.1.2", patient="P2/19610204/Martin^Anne", modality="DX"))


@pytest.mark.usefixtures("filled")
def test_a_search_works_without_scripts_and_its_words_stand_in_no_url(client: httpx.Client) -> None:
    csrf = sign_in(client)
    sent = {"csrf": csrf, "words": "lefevre", "ai": "flagged", "sort": "newest"}
    answer = client.post("/search", data=sent, headers=OURS)
    where = answer.headers["location"]
    assert re.fullmatch(r"/\?q=[0-9a-f]{8}&ai=flagged&sort=newest", where)
    html = client.get(where).text
    assert "Lefèvre, Zoé" in html
    assert "Martin" not in html
    assert "Searched for: “lefevre”, AI: flagged, Sorted by: newest first." in html
    assert 'value="lefevre"' in html
    assert "Recherche : “lefevre”" in client.get(where + "&lang=fr").text
    assert "Lefèvre" in client.get(f"/list{where[1:]}").text
    assert "Martin" in client.get("/").text, "the list itself is one link away"
    client.cookies.clear()
    sign_in(client)
    gone = client.get(where)
    assert gone.headers["location"] == "/?note=search_gone", "another session has its own words"
    assert "not kept any more" in client.get(gone.headers["location"]).text
    assert client.get(f"/list{where[1:]}").headers["location"] == "/?note=search_gone"


@pytest.mark.usefixtures("filled")
def test_two_tabs_that_search_for_two_patients_each_keep_their_own(client: httpx.Client) -> None:
    csrf = sign_in(client)

    def search(words: str) -> str:
        sent = {"csrf": csrf, "words": words}
        return str(client.post("/search", data=sent, headers=OURS).headers["location"])

    one, other = search("lefevre"), search("martin")
    for _ in range(2):
        for where, name, another in ((one, "Lefèvre", "Martin"), (other, "Martin", "Lefèvre")):
            for path in (where, f"/list{where[1:]}", f"{where}&sort=newest"):
                html = client.get(path).text
                assert name in html
                assert another not in html
    assert search("lefevre") == one, "the same words are the same search"


@pytest.mark.usefixtures("filled")
def test_the_oldest_search_goes_and_says_so(client: httpx.Client) -> None:
    csrf = sign_in(client)
    found = []
    for number in range(30):
        sent = {"csrf": csrf, "words": f"martin {'x' * 180}{number}"}
        found.append(client.post("/search", data=sent, headers=OURS).headers["location"])
    assert client.get(found[-1]).status_code == 200
    assert client.get(found[0]).headers["location"] == "/?note=search_gone"


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("<script>", 200, "“&lt;script&gt;”"),
        ("x" * 5000, 200, "“xxx"),
        ("é", 422, "Too many would match"),
        ("' OR 1=1 --", 200, "Nothing waits to be read."),
        ("\u202emartin", 200, "Martin, Anne"),
    ],
)
def test_odd_words_are_words(client: httpx.Client, words: str, status: int, said: str) -> None:
    csrf = sign_in(client)
    where = client.post("/search", data={"csrf": csrf, "words": words}, headers=OURS)
    answer = client.get(where.headers["location"])
    assert answer.status_code == status
    assert said in answer.text


@pytest.mark.parametrize("query", ["state=nice", "sort=x", "page=-1", "page=99999", "ai=%27"])
def test_odd_facets_are_refused_or_nothing(client: httpx.Client, query: str) -> None:
    sign_in(client)
    assert client.get(f"/?{query}").status_code in (200, 400)


@pytest.mark.usefixtures("filled")
def test_a_program_searches_by_post(client: httpx.Client) -> None:
    def asked(**body: object) -> httpx.Response:
        return client.post("/api/v1/search", json=body, headers=as_role("service"))

    found = asked(words="zoe", **{"class": ""}).json()
    assert [row["study_uid"] for row in found["items"]] == ["1.1.1.1.1"]
    assert found["more"] is False
    assert [row["study_uid"] for row in asked(modality="DX").json()["items"]] == ["1.1.1.1.2"]
    assert asked(words="a").json()["code"] == "too_broad"
    assert asked(words="a\0b").status_code == 422
    assert client.get("/api/v1/search", headers=as_role("service")).status_code == 405


@pytest.mark.needs("chromium")
@pytest.mark.usefixtures("filled")
def test_what_was_found_lives_and_what_comes_to_match_comes_by_itself(
    opened: Opened, make: Make, feed: Feed
) -> None:
    screens = opened()
    page = screens.open(screens.context())
    page.keyboard.press("/")
    page.keyboard.type("lefevre")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=*")
    page.wait_for_selector('#truth[data-state="live"]')
    assert names(page) == ["Lefèvre, Zoé"]
    page.locator("#words").blur()
    feed(make.series("1.1.1.1.3", patient="P3/19610204/Lefevre^Max", at=30))
    wait_for(lambda: names(page) == ["Lefèvre, Zoé", "Lefevre, Max"])
    feed(make.order("S", patient="P9", priority="stat"), make.series(accession="S", patient="P9"))
    page.locator("#strip", has_text="Emergent").wait_for()
    assert len(names(page)) == 2
    assert screens.complaints == []
