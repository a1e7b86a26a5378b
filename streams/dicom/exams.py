"""MPPS: a modality says that a step of an exam began or is over: each word is an ExamProgressed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from streams.authorities import Authorities
from streams.dicom import gate, steps
from streams.dicom.patients import SenderLike
from streams.dicom.publishing import PublisherLike, SeriesPublisher
from streams.errors import Reason, Refuse
from streams.events import ExamProgressed, Identity, Number, Version, encode
from streams.kafka import topics
from streams.seal import KeyRing
from streams.store import Store
from streams.studykey import digest, patient_of, topic_key

_SUCCESS, _NO_SUCH_INSTANCE = 0x0000, 0x0112
_MAY_NO_LONGER_BE_UPDATED = 0x0110


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
    ) -> int:
        """Publishes what a step says, waits for the broker, and gives the status (PS3.7 §10.1.5,
        §10.1.3).

        Args:
            first: whether it is the N-CREATE.

        Raises:
            Refuse: when the data set cannot be used, or names no study.
            Unavailable: when the broker did not confirm.
            OSError: when the disk failed.
        """
        gate.uid(step_uid.encode("utf-8", "replace"), "MPPS")
        step = steps.read(data, transfer_syntax, sender, self._authorities)
        event_id = digest(sender.name.encode(), step_uid.encode(), data)
        note = self._store.recall(step_uid)
        exam = steps.Remembered.model_validate_json(note) if note else None
        if first:
            exam = self._begun(step, sender, exam)
            self._store.remember(step_uid, exam.model_dump_json().encode())
        elif exam is None:
            return _NO_SUCH_INSTANCE
        elif exam.ended not in ("", event_id):
            return _MAY_NO_LONGER_BE_UPDATED
        if step.status is None:
            return _SUCCESS
        self._publish(exam, step, step_uid, event_id)
        if step.status != "in_progress":
            ended = exam.model_copy(update={"ended": event_id})
            self._store.remember(step_uid, ended.model_dump_json().encode())
        if step.status == "completed":
            for study in (number.value for number in exam.numbers if number.kind == "study"):
                for series, count in step.series.items():
                    self._series.expected(study, series, count)
        return _SUCCESS

    def _begun(
        self, step: steps.Step, sender: SenderLike, before: steps.Remembered | None
    ) -> steps.Remembered:
        """What is kept of an N-CREATE; one that is sent again does not begin the step anew."""
        if not step.numbers:
            raise Refuse(Reason.NO_STUDY_KEY, "00400270")
        who = step.who
        return steps.Remembered(
            numbers=step.numbers,
            sender=sender.name,
            site=sender.site,
            patient=patient_of(self._ring.pseudonym, who.issuer, who.patient_id),
            identity=self._ring.seal_identity(who) if who != Identity() else None,
            ended=before.ended if before else "",
        )

    def _publish(
        self, exam: steps.Remembered, step: steps.Step, step_uid: str, event_id: str
    ) -> None:
        if step.status is None:
            return
        now = self._now()
        message = ExamProgressed(
            event_id=event_id,
            sender=exam.sender,
            received_at=now,
            # By the step's own times, so that an N-CREATE that comes again stays the older word.
            version=Version(time=min(step.at or now, now), message_time=now, digest=event_id),
            patient=exam.patient,
            identity=exam.identity,
            numbers=(*exam.numbers, Number(kind="step", value=step_uid)),
            site=exam.site,
            status=step.status,
            announced_instances=sum(step.series.values()) if step.series else None,
        )
        key = topic_key(self._ring.pseudonym, exam.numbers, exam.patient)
        self._publisher.publish_sync(topics.SERIES.name, key, encode(message))
