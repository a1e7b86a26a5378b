"""MPPS: a modality says that an exam began or is over; each word becomes one ExamProgressed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from streams.dicom import gate, steps
from streams.dicom.headers import SenderLike
from streams.dicom.publishing import PublisherLike, SeriesPublisher
from streams.events import ExamProgressed, Identity, Version, encode
from streams.kafka import topics
from streams.seal import KeyRing
from streams.store import Store
from streams.studykey import digest, patient_pseudonym, topic_key

_SUCCESS, _NO_SUCH_INSTANCE = 0x0000, 0x0112


class Exams:
    """Performed procedure steps. What an N-CREATE says is kept in the store: the N-SET names only
    its own UID.
    """

    def __init__(
        self,
        store: Store,
        series: SeriesPublisher,
        ring: KeyRing,
        publisher: PublisherLike,
        now: Callable[[], datetime],
    ) -> None:
        self._store, self._series, self._ring, self._publisher, self._now = (
            store,
            series,
            ring,
            publisher,
            now,
        )

    def take(
        self, sender: SenderLike, step_uid: str, data: bytes, transfer_syntax: str, *, first: bool
    ) -> int:
        """Publishes what a step says, waits for the broker, and gives the status (PS3.7 §10.1.5,
        §10.1.3).

        Args:
            first: whether it is the N-CREATE.

        Raises:
            Refuse: when the data set cannot be used.
            Unavailable: when the broker did not confirm.
            OSError: when the disk failed.
        """
        gate.uid(step_uid.encode("utf-8", "replace"), "MPPS")
        step = steps.read(data, transfer_syntax)
        if first:
            exam = self._first(step, sender)
            self._store.remember(step_uid, exam.model_dump_json().encode())
        else:
            note = self._store.recall(step_uid)
            if note is None:
                return _NO_SUCH_INSTANCE
            exam = steps.Remembered.model_validate_json(note)
        if step.status is None:
            return _SUCCESS
        self._publish(exam, step, digest(sender.name.encode(), step_uid.encode(), data))
        if step.status == "completed":
            for study in exam.study_uids:
                for series, count in step.series.items():
                    self._series.expected(study, series, count)
        return _SUCCESS

    def _first(self, step: steps.Step, sender: SenderLike) -> steps.Remembered:
        who = Identity(
            patient_id=step.patient_id,
            issuer=step.issuer or sender.issuer,
            name=step.name,
            birth_date=step.birth_date,
            sex=step.sex,
        )
        return steps.Remembered(
            study_uids=step.study_uids,
            accessions=step.accessions,
            sender=sender.name,
            site=sender.site,
            patient=patient_pseudonym(self._ring.pseudonym, who.issuer, who.patient_id),
            identity=self._ring.seal_identity(who) if who.patient_id or who.name else None,
        )

    def _publish(self, exam: steps.Remembered, step: steps.Step, event_id: str) -> None:
        if step.status is None:
            return
        now = self._now()
        message = ExamProgressed(
            event_id=event_id,
            sender=exam.sender,
            received_at=now,
            version=Version(time=now, digest=event_id),
            patient=exam.patient,
            identity=exam.identity,
            accessions=exam.accessions,
            study_uids=exam.study_uids,
            site=exam.site,
            status=step.status,
            announced_instances=sum(step.series.values()) if step.series else None,
        )
        key = topic_key(
            self._ring.pseudonym,
            accessions=exam.accessions,
            study_uids=exam.study_uids,
            patient=exam.patient,
        )
        self._publisher.publish_sync(topics.SERIES.name, key, encode(message))
