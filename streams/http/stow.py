"""STOW-RS (PS3.18 §10.5): instances of a multipart body go into the store as by C-STORE."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from streams.dicom import part10
from streams.dicom.agreed import agree
from streams.dicom.receiving import STATUS, SUCCESS, Caller, Instance, Reception
from streams.dicom.upper import commands, pdu
from streams.dicom.upper.commands import Command
from streams.dicom.upper.pdu import Context
from streams.errors import Reason, Refuse
from streams.http.multipart import Begin, End, parts

MOST_PARTS = 20_000  # of one request
_HEAD = 132 + 64 * 1024  # bytes until the meta information of a file is whole
_CANNOT_UNDERSTAND = 0xC000
_NO_SYNTAX = 0x0122


@dataclass
class Stored:
    """What became of the instances of one request."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)

    def status(self) -> int:
        """200 all kept, 202 some, 409 none; 503 where none was for want of room."""
        if not self.failed:
            return 200 if self.kept else 422
        if self.kept:
            return 202
        room = {Reason.STORE_FULL, Reason.STORE_FAILED}
        return 503 if self.reasons and set(self.reasons) <= room else 409

    def document(self) -> dict[str, Any]:
        """The response's data set (PS3.18 §I.2), DICOM JSON."""
        found: dict[str, Any] = {}
        for tag, items in (("00081198", self.failed), ("00081199", self.kept)):
            if items:
                found[tag] = {"vr": "SQ", "Value": items}
        return found


async def store(
    reception: Reception, caller: Caller, body: AsyncIterator[bytes], boundary: bytes, study: str
) -> Stored:
    """Every part that is a DICOM file, on the disk when it returns.

    Args:
        study: the only study that the path allows; empty: any.

    Raises:
        Refuse: `bad_request` where the body is no such multipart, `too_large` where it has more
            than `MOST_PARTS`. What was kept before stays.
    """
    stored, file, begun = Stored(), None, 0
    try:
        async for piece in parts(body, boundary):
            if isinstance(piece, Begin):
                begun += 1
                if begun > MOST_PARTS:
                    raise Refuse(Reason.TOO_LARGE, "parts")
                file = _File(reception, caller, study)
            elif isinstance(piece, End):
                if file is not None:
                    await asyncio.to_thread(file.end, stored)
                file = None
            elif file is not None:
                await asyncio.to_thread(file.write, piece)
    finally:
        if file is not None:
            file.cancel()
        reception.series.association_over(caller.brought)
        caller.brought = {}
    return stored


class _File:
    """One part: its meta information is taken off, its data set goes to the disk."""

    def __init__(self, reception: Reception, caller: Caller, study: str) -> None:
        self._reception, self._caller, self._study = reception, caller, study
        self._head = b""
        self._instance: Instance | None = None
        self._command = Command(commands.STORE, 0, "", "", has_data=True)
        self._refusal: Refuse | None = None

    def write(self, piece: bytes) -> None:
        """The next bytes."""
        if self._instance is not None:
            self._instance.write(memoryview(piece))
        elif self._refusal is None:
            self._head += piece
            if len(self._head) > _HEAD:
                self._begin()

    def _begin(self) -> None:
        try:
            file = part10.unwrap(self._head)
            context = Context(0, file.sop_class, (file.transfer_syntax,))
            self._command = Command(
                commands.STORE, 0, file.sop_class, file.sop_instance, has_data=True
            )
            if agree(context)[0] != pdu.ACCEPTED:
                raise Refuse(Reason.UNSUPPORTED_SYNTAX, "00020010")
            self._instance = Instance(
                self._reception, self._caller, self._command, context, study=self._study
            )
            self._instance.write(memoryview(self._head)[file.start :])
        except Refuse as refusal:
            self._refusal = refusal
        self._head = b""

    def end(self, stored: Stored) -> None:
        """It is whole: what became of it."""
        if self._instance is None and self._refusal is None:
            self._begin()
        named = {
            "00081150": {"vr": "UI", "Value": [self._command.sop_class]},
            "00081155": {"vr": "UI", "Value": [self._command.sop_instance]},
        }
        if self._instance is not None:
            answer = self._instance.end()
            if answer.status == SUCCESS:
                stored.kept.append(named)
                return
            if self._instance.refused is None:  # kept, with a warning
                warning = {"00081196": {"vr": "US", "Value": [answer.status]}}
                stored.kept.append(named | warning)
                return
            self._refusal = self._instance.refused
        assert self._refusal is not None
        if self._instance is None:
            self._reception.refused(self._refusal, self._caller, _CANNOT_UNDERSTAND)
        status = STATUS.get(self._refusal.reason, _CANNOT_UNDERSTAND)
        if self._refusal.reason is Reason.UNSUPPORTED_SYNTAX:
            status = _NO_SYNTAX
        stored.reasons.append(self._refusal.reason)
        stored.failed.append(named | {"00081197": {"vr": "US", "Value": [status]}})

    def cancel(self) -> None:
        """The body broke off."""
        if self._instance is not None:
            self._instance.cancel()
