"""Tokens, readers who come and go, and what counts as our own page and this machine."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.errors import Reason, Unavailable
from worklist.sql.people.accounts import Account
from worklist.web.door.auth import (
    Readers,
    Role,
    digest,
    is_loopback_host,
    read_readers,
    same_origin,
)

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)


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


class Accounts:
    """The database's, which can go away."""

    def __init__(self) -> None:
        self.held: list[Account] = []
        self.away = False
        self.ticks = 0.0
        self.asked = 0

    def __call__(self) -> list[Account]:
        self.asked += 1
        if self.away:
            raise Unavailable(Reason.DATABASE_DOWN)
        return self.held

    def later(self) -> float:
        self.ticks += 10
        return self.ticks


def test_readers_come_and_go_without_a_restart_and_a_database_that_is_away_locks_nobody_out() -> (
    None
):
    accounts = Accounts()
    given = [("anne", Role.READER, digest("anne-secret-token"))]
    readers = Readers(given, accounts, accounts.later)
    assert readers.names() == ("anne",)
    accounts.held = [
        Account("ben", "lead", digest("ben-secret-token"), None),
        Account("anne", "", "", NOW),
    ]
    assert readers.names() == ("ben",)
    assert readers.by_token("anne-secret-token") is None, "disabled, though the file has her"
    accounts.away = True
    ben = readers.by_token("ben-secret-token")
    assert ben is not None
    assert (ben.name, ben.role) == ("ben", Role.LEAD)
    accounts.away = False
    accounts.held = [Account("anne", "lead", digest("anne-other-token"), None)]
    assert readers.by_token("anne-secret-token") is None, "she has another token now"
    assert readers.by_token("anne-other-token") is not None


def test_a_database_that_does_not_answer_is_not_asked_by_each_request() -> None:
    accounts, anne = Accounts(), digest("anne-secret-token")
    readers = Readers([("anne", Role.READER, anne)], accounts, lambda: accounts.ticks)
    accounts.away = True
    for _ in range(20):
        assert readers.by_token("anne-secret-token") is not None
    assert accounts.asked == 1
    accounts.ticks += 10
    assert readers.by_token("anne-secret-token") is not None
    assert accounts.asked == 2


def test_while_one_request_asks_who_there_is_the_others_do_not_wait() -> None:
    accounts, asking, answer = Accounts(), threading.Event(), threading.Event()

    def listed() -> list[Account]:
        if accounts.ticks:
            asking.set()
            answer.wait(10)
        return accounts()

    known = [("anne", Role.READER, digest("anne-secret-token"))]
    readers = Readers(known, listed, lambda: accounts.ticks)
    assert readers.names() == ("anne",)
    accounts.ticks = 10.0
    with ThreadPoolExecutor(1) as hands:
        slow = hands.submit(readers.names)
        assert asking.wait(10)
        assert readers.names() == ("anne",)
        assert not slow.done()
        answer.set()
        assert slow.result(10) == ("anne",)


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
        ({"host": "inside:8080", "origin": "http://h:1"}, True),
    ],
)
def test_only_our_own_page_may_act(headers: dict[str, str], ours: bool) -> None:
    assert same_origin(headers, "http://h:1") is ours


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
