"""MPPS and availability notices: each word about an exam becomes an ExamProgressed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime

from streams.dicom import gate, notices, steps
from streams.dicom.agreed import NOTICE
from streams.dicom.patients import SenderLike
from streams.dicom.publishing import PublisherLike, SeriesPublisher
from streams.dicom.receiving import Caller, Refused
from streams.dicom.upper import commands
from streams.dicom.upper.commands import Answer, Command
from streams.dicom.upper.pdu import Context
from streams.errors import Reason, Refuse, VigieError
from streams.events import ExamProgressed, Number, Version, encode
from streams.identity.seal import KeyRing
from streams.identity.studykey import digest, patient_of, topic_key
from streams.kafka import topics
from streams.sealed import Identity
from streams.senders.authorities import Authorities
from streams.storage.store import Store

_SUCCESS, _NO_SUCH_INSTANCE, _NO_SUCH_OPERATION = 0x0000, 0x0112, 0x0211
_DUPLICATE, _PROCESSING_FAILURE = 0x0111, 0x0110
_ENDED = 0xA710  # Error ID: Performed Procedure Step Object may no longer be updated
#: Statuses of N-CREATE and N-SET (PS3.7 §10.1.5, §10.1.3, Annex C); what is not here is 0x0110.
STATUS = {
    Reason.NO_STUDY_KEY: 0x0120,
    Reason.MISSING_FIELD: 0x0120,
    Reason.BAD_FIELD: 0x0106,
    Reason.BAD_UID: 0x0117,
    Reason.STORE_FULL: 0x0213,
    Reason.STORE_FAILED: 0x0213,
}


class Exams:
    """Performed procedure steps. What an N-CREATE says is kept in the store: the N-SET names only
    its own UID. A step that ended stays so.
    """

    def __init__(
        self,
        store: Store,
        series: SeriesPublisher,
        authorities: Authorities,
        ring: KeyRing,
        publisher: PublisherLike,
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._series, self._authorities = store, series, authorities
        self._ring, self._publisher, self._now = ring, publisher, now

    def take(
        self, sender: SenderLike, step_uid: str, data: bytes, transfer_syntax: str, *, first: bool
    ) -> Answer:
        """Publishes what a step says, waits for the broker, and answers.

        Args:
            first: whether it is the N-CREATE. One that names no UID is given one.

        Raises:
            Refuse: when the data set cannot be used, or names no study.
            Unavailable: when the broker did not confirm.
            OSError: when the disk failed.
        """
        given = ""
        if first and not step_uid:
            step_uid = given = f"2.25.{uuid.uuid4().int}"
        gate.uid(step_uid.encode("utf-8", "replace"), "MPPS")
        step = steps.read(data, transfer_syntax, sender, self._authorities)
        event_id = digest(sender.name.encode(), step_uid.encode(), data)
        note = self._store.recall(step_uid)
        exam = steps.Remembered.model_validate_json(note) if note else None
        if first:
            if exam and exam.began != event_id:
                return Answer(_DUPLICATE, "this step has begun already")
            if exam and exam.ended:  # sent again for its lost answer
                return Answer(_SUCCESS)
            exam = self._begun(step, sender, event_id)
            self._remember(step_uid, exam)
        elif exam is None:
            return Answer(_NO_SUCH_INSTANCE, "no N-CREATE of this step has been seen")
        elif exam.ended not in ("", event_id):
            return Answer(_PROCESSING_FAILURE, "this step has ended", error_id=_ENDED)
        if step.status is not None:
            self._progress(exam, step, step_uid, event_id)
        return Answer(_SUCCESS, instance=given)

    def _progress(
        self, exam: steps.Remembered, step: steps.Step, step_uid: str, event_id: str
    ) -> None:
        self._publish(exam, step, step_uid, event_id)
        if step.status != "in_progress":
            self._remember(step_uid, exam.model_copy(update={"ended": event_id}))
        if step.status == "completed":
            named = [number for part in exam.parts for number in part]
            for study in (number.value for number in named if number.kind == "study"):
                for series, count in step.series.items():
                    self._series.expected(study, series, count)

    def _remember(self, step_uid: str, exam: steps.Remembered) -> None:
        self._store.remember(step_uid, exam.model_dump_json().encode())

    def _begun(self, step: steps.Step, sender: SenderLike, event_id: str) -> steps.Remembered:
        """What is kept of an N-CREATE."""
        if not step.parts:
            raise Refuse(Reason.NO_STUDY_KEY, "00400270")
        if step.status is None:
            raise Refuse(Reason.MISSING_FIELD, "00400252")
        who = step.who
        return steps.Remembered(
            parts=step.parts,
            sender=sender.name,
            site=sender.site,
            patient=patient_of(self._ring.pseudonym, who.issuer, who.patient_id),
            identity=self._ring.seal_identity(who) if who != Identity() else None,
            began=event_id,
        )

    def _publish(
        self, exam: steps.Remembered, step: steps.Step, step_uid: str, event_id: str
    ) -> None:
        """One event for each study: what is said of one is not said of another."""
        if step.status is None:
            return
        now, several = self._now(), len(exam.parts) > 1
        for numbers in exam.parts:
            stated = "\n".join(f"{n.kind} {n.authority} {n.value}" for n in numbers).encode()
            own = digest(event_id.encode(), stated) if several else event_id
            self._send(self._event(exam, step, numbers, step_uid, own, now))

    def _event(
        self,
        exam: steps.Remembered,
        step: steps.Step,
        numbers: tuple[Number, ...],
        step_uid: str,
        event_id: str,
        now: datetime,
    ) -> ExamProgressed:
        assert step.status is not None
        return ExamProgressed(
            event_id=event_id,
            sender=exam.sender,
            received_at=now,
            # By the step's own times, so that an N-CREATE that comes again stays the older word.
            version=Version(time=min(step.at or now, now), message_time=now, digest=event_id),
            patient=exam.patient,
            identity=exam.identity,
            numbers=(*numbers, Number(kind="step", value=step_uid)),
            site=exam.site,
            status=step.status,
            announced_instances=sum(step.series.values()) if step.series else None,
            series=step.series,
        )

    def _send(self, message: ExamProgressed) -> None:
        numbers = [number for number in message.numbers if number.kind != "step"]
        key = topic_key(self._ring.pseudonym, numbers, message.patient)
        self._publisher.publish_sync(topics.SERIES.name, key, encode(message))

    def notice(
        self, sender: SenderLike, notice_uid: str, data: bytes, transfer_syntax: str
    ) -> Answer:
        """Publishes that the archive has a study (IAN). Raises as `take`.

        Args:
            notice_uid: of the notice; another one is another word, though it says what an earlier
                one said.
        """
        notice = notices.read(data, transfer_syntax)
        event_id = digest(sender.name.encode(), b"notice", notice_uid.encode(), data)
        now = self._now()
        message = ExamProgressed(
            event_id=event_id,
            sender=sender.name,
            received_at=now,
            version=Version(time=now, message_time=now, digest=event_id),
            numbers=(Number(kind="study", value=notice.study_uid),),
            site=sender.site,
            status="available",
            announced_instances=notice.instances or None,
        )
        if notice.instances:  # of what is not at hand nothing is readable
            self._send(message)
        return Answer(_SUCCESS)


class ExamMessage:
    """The data set of one N-CREATE or N-SET; it may have some MiB."""

    def __init__(
        self, exams: Exams, caller: Caller, command: Command, context: Context, refused: Refused
    ) -> None:
        self._exams, self._caller, self._command = exams, caller, command
        self._context, self._refused = context, refused
        self._data = bytearray()
        self._too_large = False

    def write(self, chunk: memoryview) -> None:
        """Held, up to the largest data set that is read."""
        self._too_large = self._too_large or len(self._data) + len(chunk) > steps.MAX_BYTES
        if not self._too_large:
            self._data += chunk

    def end(self) -> Answer:
        """What the exams say to it."""
        try:
            return self._answer()
        except VigieError as error:
            refusal = Refuse(error.reason, error.where)
        except OSError:
            refusal = Refuse(Reason.STORE_FAILED)
        status = STATUS.get(refusal.reason, _PROCESSING_FAILURE)
        self._refused(refusal, self._caller, status)
        return Answer(status, comment=str(refusal))

    def _answer(self) -> Answer:
        if self._too_large:
            raise Refuse(Reason.TOO_LARGE, "MPPS")
        command, sender = self._command, self._caller.sender
        first, syntax = command.field == commands.CREATE, self._context.transfers[0]
        if self._context.abstract == steps.MPPS:
            return self._exams.take(
                sender, command.sop_instance, bytes(self._data), syntax, first=first
            )
        if self._context.abstract == NOTICE and first:
            return self._exams.notice(sender, command.sop_instance, bytes(self._data), syntax)
        return Answer(_NO_SUCH_OPERATION)

    def cancel(self) -> None:
        """It never becomes whole."""
        self._data.clear()
