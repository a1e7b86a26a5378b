"""Tokens, sessions, CSRF, and what counts as our own page and this machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from worklist.web import auth
from worklist.web.auth import (
    Person,
    Role,
    Session,
    Sessions,
    digest,
    is_loopback_host,
    read_readers,
    same_origin,
)

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
ANNE = Person("anne", Role.READER, "k" * 32)


def test_readers_come_from_the_file_by_digest_and_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "readers.toml"
    file.write_text(
        f'[[reader]]\nname = "anne"\nrole = "reader"\nsha256 = "{digest("anne-secret-token")}"\n'
    )
    readers = read_readers(file, "bot:lead:another-secret-token")
    anne, bot = readers.by_token("anne-secret-token"), readers.by_token("another-secret-token")
    assert anne is not None
    assert bot is not None
    assert (anne.name, anne.role, bot.name, bot.role) == ("anne", Role.READER, "bot", Role.LEAD)
    assert readers.by_token(digest("anne-secret-token")) is None
    assert readers.by_token("") is None


@pytest.mark.parametrize(
    "tokens",
    ["bot:lead:short", "bot:king:0123456789abcdef", "0123456789abcdef", ":lead:0123456789abcdef"],
)
def test_tokens_that_are_not_well_formed_refuse_to_start_without_saying_them(
    tmp_path: Path, tokens: str
) -> None:
    with pytest.raises(ValueError, match="VIGIE_TOKENS") as told:
        read_readers(tmp_path / "none.toml", tokens)
    assert "0123456789abcdef" not in str(told.value)


def test_a_readers_file_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "readers.toml"
    file.write_text(
        '[[reader]]\nname = "a"\nrole = "reader"\nsha256 = "x"\ntoken = "secret-in-file"\n'
    )
    with pytest.raises(ValueError, match="sha256") as told:
        read_readers(file, "")
    assert "secret-in-file" not in str(told.value)


def test_a_session_lives_for_its_two_lifetimes_and_until_logout() -> None:
    sessions = Sessions(b"s" * 32)
    session = Session.start(ANNE, NOW)
    cookie = sessions.cookie(session)
    assert sessions.read(cookie, NOW) == session
    assert sessions.read(cookie, NOW + auth.IDLE) is None
    later = sessions.renewed(session, NOW + timedelta(hours=1))
    assert later is not None
    assert sessions.read(sessions.cookie(later), NOW + auth.IDLE) is not None
    kept = Session(
        session.id, session.key, session.started, int((NOW + auth.ABSOLUTE).timestamp()) - 60
    )
    assert (
        sessions.read(sessions.cookie(kept), NOW + auth.ABSOLUTE - timedelta(seconds=1)) is not None
    )
    assert sessions.read(sessions.cookie(kept), NOW + auth.ABSOLUTE) is None
    sessions.end(later)
    assert sessions.read(cookie, NOW) is None
    assert sessions.ended(session)


@pytest.mark.parametrize("cookie", ["", ".", "x.y", "bm90IG91cnM=.abc", "é.é", "a" * 5000])
def test_a_cookie_that_is_not_ours_opens_nothing(cookie: str) -> None:
    assert Sessions(b"s" * 32).read(cookie, NOW) is None


def test_a_cookie_signed_under_another_key_opens_nothing() -> None:
    assert (
        Sessions(b"s" * 32).read(Sessions(b"t" * 32).cookie(Session.start(ANNE, NOW)), NOW) is None
    )


def test_csrf_belongs_to_one_session() -> None:
    sessions = Sessions(b"s" * 32)
    one, two = Session.start(ANNE, NOW), Session.start(ANNE, NOW)
    assert sessions.csrf_matches(one, sessions.csrf(one))
    assert not sessions.csrf_matches(one, sessions.csrf(two))
    assert not sessions.csrf_matches(one, "é")


@pytest.mark.parametrize(
    ("headers", "ours"),
    [
        ({"host": "h:1", "origin": "http://h:1"}, True),
        ({"host": "h:1", "origin": "null", "sec-fetch-site": "same-origin"}, True),
        ({"host": "h:1", "origin": "http://h:1", "sec-fetch-site": "cross-site"}, False),
        ({"host": "h:1", "origin": "http://evil"}, False),
        ({"host": "h:1", "origin": "http://evil", "sec-fetch-site": "same-origin"}, False),
        ({"host": "h:1", "origin": "null"}, False),
        ({"host": "h:1", "sec-fetch-site": "none"}, False),
        ({"host": "h:1"}, False),
    ],
)
def test_only_our_own_page_may_act(headers: dict[str, str], ours: bool) -> None:
    assert same_origin(headers, "http") is ours


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:80", True),
        ("localhost:8080", True),
        ("[::1]:80", True),
        ("::1", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("10.0.0.1", False),
    ],
)
def test_loopback_names(host: str, loopback: bool) -> None:
    assert is_loopback_host(host) is loopback
