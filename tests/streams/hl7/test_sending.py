"""`vigie send`: files in any wrapping, each answer shown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from streams.commands import app
from streams.errors import Misconfigured
from streams.hl7 import sending
from streams.hl7.door import MllpDoor
from streams.hl7.sending import accession_of, messages_in
from streams.hl7.wire.framing import frame
from tests.streams.hl7.conftest import Broker, order


@pytest.mark.parametrize(
    "raw",
    [
        order(id="M1") + order(id="M2"),
        frame(order(id="M1")) + b"\n" + frame(order(id="M2")),
        (order(id="M1") + b"\r\r" + order(id="M2")).replace(b"\r", b"\n"),
        order(id="M1", name="D\x1coe") + order(id="M2"),
    ],
    ids=["one after the other", "framed", "lines of an editor", "a byte 1C in a text"],
)
def test_a_file_holds_messages_however_it_was_made(raw: bytes, tmp_path: Path) -> None:
    file = tmp_path / "orders.hl7"
    file.write_bytes(raw)
    assert [accession_of(message) for message in messages_in(file)] == ["A1", "A1"]


async def send(door: MllpDoor, *files: Path) -> Result:
    words = ["send", "--to", f"127.0.0.1:{door.port}", *map(str, files)]
    return await asyncio.to_thread(CliRunner().invoke, app, words)


async def test_each_answer_is_shown_and_a_refusal_fails(
    door: MllpDoor, broker: Broker, tmp_path: Path
) -> None:
    good, bad = tmp_path / "good.hl7", tmp_path / "bad.hl7"
    good.write_bytes(order(id="M1"))
    bad.write_bytes(order("ZZ", id="M2"))
    done = await send(door, good)
    assert (done.exit_code, done.stdout) == (0, "AA M1\n")
    done = await send(door, good, bad)
    assert done.exit_code == 1
    assert "AE M2 The value of this field" in done.stdout
    assert "ERR||ORC^1^1|102" in done.stdout


async def test_in_enhanced_mode_each_message_has_its_own_answer(
    door: MllpDoor, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two answers come to M1, none to M2: neither is taken for another's, or waited for."""
    monkeypatch.setattr(sending, "_SILENCE_S", 0.1)  # the door of the tests waits half a second
    file = tmp_path / "orders.hl7"
    asked = {"M1": b"AL|AL", "M2": b"NE|NE", "M3": b"|"}
    file.write_bytes(
        b"".join(
            order(id=name).replace(b"|2.5.1||||||UNI", b"|2.5.1|||%s||UNI" % modes)
            for name, modes in asked.items()
        )
    )
    done = await send(door, file)
    assert done.stdout == "CA M1\nNE M2 no answer was asked for\nAA M3\n"
    assert (done.exit_code, len(broker.on("orders"))) == (0, 3)


async def test_a_file_without_a_message_fails(door: MllpDoor, tmp_path: Path) -> None:
    file = tmp_path / "empty.hl7"
    file.write_bytes(b"\r\n")
    done = await send(door, file)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{file}: no message" in done.stderr


async def test_a_file_without_a_message_beside_others_is_named_and_nothing_is_sent(
    door: MllpDoor, broker: Broker, tmp_path: Path
) -> None:
    good, empty = tmp_path / "good.hl7", tmp_path / "empty.hl7"
    good.write_bytes(order(id="M1"))
    empty.write_bytes(b"\r\n")
    done = await send(door, good, empty)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"{empty}: no message" in done.stderr
    assert not broker.on("orders")


def test_a_door_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "order.hl7"
    file.write_bytes(order())
    done = CliRunner().invoke(app, ["send", "--to", "127.0.0.1:1", str(file)])
    assert done.exit_code == 1
    assert "name the door with --to" in done.stderr


@pytest.mark.parametrize("where", ["127.0.0.1", ":2575", "127.0.0.1:mllp"])
def test_a_door_without_its_port_is_said_in_our_words(where: str, tmp_path: Path) -> None:
    file = tmp_path / "order.hl7"
    file.write_bytes(order())
    done = CliRunner().invoke(app, ["send", "--to", where, str(file)])
    assert done.exit_code == 1
    assert done.stderr.strip() == f"{where}: no host:port: name the door with --to host:port"


@pytest.mark.parametrize("text", [None, "# no JSON", "[]", "{}"])
def test_what_is_no_ready_file_is_said_with_its_option(text: str | None, tmp_path: Path) -> None:
    file, ready = tmp_path / "order.hl7", tmp_path / "ready.json"
    file.write_bytes(order())
    if text is not None:
        ready.write_text(text)
    done = CliRunner().invoke(app, ["send", "--ready", str(ready), str(file)])
    assert isinstance(done.exception, Misconfigured)
    assert str(done.exception).startswith(f"--ready: {ready}: ")
