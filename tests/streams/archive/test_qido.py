"""QIDO-RS: pages are asked for until there is nothing new, and any answer ends right."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.embedded import free_port
from streams.archive import qido
from streams.archive.address import address_of
from streams.archive.asked import KEYS
from streams.archive.reconciling import Pass
from streams.dicom import gate
from streams.dicom.elements import Syntax, Walker
from streams.errors import Misconfigured, Reason, Unavailable
from streams.identity.seal import KeyRing
from tests.streams.archive.conftest import Make
from tests.streams.certificates import Authority
from tests.streams.dicom.conftest import settings_for


def study(uid: str = "1.2.3", **more: Any) -> dict[str, Any]:
    values = {
        "0020000D": {"vr": "UI", "Value": [uid]},
        "00080050": {"vr": "SH", "Value": ["A1"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "LEFÈVRE^Zoé"}]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "00201208": {"vr": "IS", "Value": [3]},
    }
    return values | {f"{tag}": value for tag, value in more.items()}


@pytest.fixture
def web() -> Iterator[SimpleNamespace]:
    """An archive's DICOMweb: `answer` says what comes, by the offset that is asked for."""
    held = SimpleNamespace(asked=[], headers=[], answer=lambda _offset: (200, b"[]"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            held.asked.append((urlsplit(self.path).path, query))
            held.headers.append(dict(self.headers))
            status, body = held.answer(int(query["offset"][0]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    held.server, held.port = server, server.server_address[1]
    held.archive = f"PACS@http://127.0.0.1:{held.port}/dicom-web/"
    yield held
    server.shutdown()
    thread.join()
    server.server_close()


def paged(size: int, *studies: dict[str, Any]) -> Any:
    return lambda offset: (200, orjson.dumps(studies[offset : offset + size]))


def test_pages_smaller_than_asked_for_are_followed_to_the_end(web: Any, make: Make) -> None:
    web.answer = paged(2, *(study(f"1.2.{number}") for number in range(5)))
    assert make(web.archive)[0].once(dry=False) == Pass(found=5, missing=5, changed=5)
    path, query = web.asked[0]
    assert path == "/dicom-web/studies"
    assert query["StudyDate"] == ["20260313-20260314"]
    assert [query["offset"][0] for _, query in web.asked] == ["0", "2", "4", "5"]
    assert set(query["includefield"]) == {f"{tag:08X}" for tag in KEYS}


def test_an_archive_that_knows_no_pages_is_not_asked_for_ever(web: Any, make: Make) -> None:
    web.answer = lambda _offset: (200, orjson.dumps([study(), study("1.2.4")]))
    assert make(web.archive)[0].once(dry=False).found == 2
    assert len(web.asked) == 2


def test_what_is_said_is_what_the_json_says(web: Any, make: Make, ring: KeyRing) -> None:
    issuer = {"vr": "SQ", "Value": [{"00400032": {"vr": "UT", "Value": ["1.2.250"]}}]}
    name = {"vr": "PN", "Value": [{"Alphabetic": "YAMADA^Taro", "Ideographic": "山田^太郎"}]}
    web.answer = paged(9, study(**{"00080051": issuer, "00100010": name}))
    reconciler, said, _ = make(web.archive)
    reconciler.once(dry=False)
    (event,) = said.events
    assert {(n.kind, n.authority, n.value) for n in event.numbers} == {
        ("study", "", "1.2.3"),
        ("accession", "HOSP", "A1"),
    }
    assert event.announced_instances == 3
    who = ring.open_identity(event.identity or "")
    assert (who.name, who.patient_id, who.doubtful) == ("YAMADA^Taro", "P1", False)
    assert reconciler.once(dry=False).changed == 0


@pytest.mark.parametrize("count", [-1, "x", 3.5, 99999999999, None, [], {}])
def test_a_count_that_is_none_is_not_said(web: Any, make: Make, count: Any) -> None:
    web.answer = paged(9, study(**{"00201208": {"vr": "IS", "Value": [count]}}))
    reconciler, said, _ = make(web.archive)
    reconciler.once(dry=False)
    assert said.events[0].announced_instances is None


def test_an_answer_that_names_no_study_is_passed_over(web: Any, make: Make) -> None:
    web.answer = paged(9, study(""), study("../x"), study("1." * 40 + "1"), study())
    reconciler, said, _ = make(web.archive)
    assert reconciler.once(dry=False).found == 1
    assert len(said.events) == 1


@pytest.mark.parametrize(
    "answer",
    [(401, b"[]"), (500, b""), (302, b""), (200, b"<html>"), (200, b"{}"), (200, b"[" * 5000)],
)
def test_an_archive_that_fails_says_nothing_about_what_it_has(
    web: Any, make: Make, answer: tuple[int, bytes]
) -> None:
    reconciler, said, _ = make(web.archive)
    web.answer = paged(9, study())
    reconciler.once(dry=False)
    web.answer = lambda _offset: answer
    with pytest.raises(Unavailable) as error:
        reconciler.once(dry=False)
    assert error.value.reason is Reason.ARCHIVE_DOWN
    web.answer = paged(9, study())
    assert reconciler.once(dry=False).changed == 0
    assert len(said.events) == 1


def test_no_content_is_no_study(web: Any, make: Make) -> None:
    web.answer = lambda _offset: (204, b"")
    assert make(web.archive)[0].once(dry=False) == Pass(found=0, missing=0, changed=0)


def test_an_answer_without_end_is_given_up(
    web: Any, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qido, "_MAX_BYTES", 1000)
    web.answer = lambda _offset: (200, b"[" + b" " * 100_000 + b"]")
    with pytest.raises(Unavailable):
        make(web.archive)[0].once(dry=False)


def test_nobody_listens(make: Make) -> None:
    with pytest.raises(Unavailable):
        make(f"PACS@http://127.0.0.1:{free_port()}")[0].once(dry=False)


def test_the_archive_is_shown_who_asks_and_proves_who_it_is(
    web: Any, make: Make, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "ca")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("localhost"))
    web.server.socket = context.wrap_socket(web.server.socket, server_side=True)
    archive = f"PACS@https://localhost:{web.port}/dicom-web"
    web.answer = paged(9, study())
    known = {"archive_ca": authority.file, "archive_authorization": "Bearer secret"}
    assert make(archive, **known)[0].once(dry=False).found == 1
    assert web.headers[0]["Authorization"] == "Bearer secret"
    stranger = Authority(tmp_path / "other")
    with pytest.raises(Unavailable):
        make(archive, **(known | {"archive_ca": stranger.file}))[0].once(dry=False)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["0020000D", "00080051", "00100010", "Value", "Alphabetic", "vr"]),
            inner,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_any_json_becomes_a_data_set_that_can_be_walked(value: Any) -> None:
    data = qido.encoded(value)
    tags = [element.tag for element in Walker(data, Syntax(implicit=True)).elements(0, len(data))]
    assert tags == sorted({gate.STUDY, 0x00080005, *KEYS})


@pytest.mark.parametrize(
    "text",
    ["PACS", "PACS@host", "@host:104", "PACS@:104", "PACS@host:x", "@https://host", "PACS@https://"]
    + ["PACS@https://host:x/", "PACS@https://me:secret@host/", "PACS@https://host/?a=b"]
    + ["PACS@ftp://host:21", "PACS@https://[::1", "PACS@https://hôst/"],
)
def test_an_address_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="VIGIE_ARCHIVE"):
        address_of(settings_for(tmp_path, "unused", archive=text))


@pytest.mark.parametrize(
    ("archive", "more", "told"),
    [
        ("PACS@http://pacs.example/", {"archive_authorization": "Bearer x"}, "in clear"),
        ("PACS@https://pacs.example/", {"archive_authorization": "Bearer x\n"}, "no value"),
        ("PACS@https://pacs.example/", {"archive_ca": Path("nowhere.pem")}, "VIGIE_ARCHIVE_CA"),
    ],
)
def test_a_secret_or_a_certificate_that_cannot_be_used_is_told(
    archive: str, more: dict[str, object], told: str, tmp_path: Path
) -> None:
    with pytest.raises(Misconfigured, match=told):
        address_of(settings_for(tmp_path, "unused", archive=archive, **more))


def test_an_address_in_brackets_is_one_of_version_6(tmp_path: Path) -> None:
    found = address_of(settings_for(tmp_path, "unused", archive="PACS@[::1]:104"))
    assert (found.title, found.host) == ("PACS", "::1")
