"""Asks an archive that does not push what it has, and says so as an availability notice would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from pydantic import TypeAdapter

from streams import metrics
from streams.archive.address import address_of
from streams.archive.asked import INSTANCES, MODALITIES
from streams.dicom import gate
from streams.dicom.door import SiteLike
from streams.dicom.elements import Syntax, Walker
from streams.dicom.headers import UNREADABLE_MODALITIES
from streams.dicom.patients import SenderLike, Words, accessions_of, identity_of
from streams.dicom.publishing import PublisherLike
from streams.errors import Refuse, VigieError
from streams.events import ExamProgressed, Number, Version, encode
from streams.identity.seal import KeyRing
from streams.identity.studykey import digest, patient_of, topic_key
from streams.kafka import topics
from streams.sealed import Identity
from streams.settings import StreamsSettings
from streams.storage.store import Store

log = structlog.get_logger()
#: Study → what was last said of it, as the store keeps it between passes and starts.
_SAID: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
_NOTE = "what was said of the archive"


@dataclass(frozen=True)
class Pass:
    """What one pass saw: studies of the window, those of which nothing is in the store, and those
    of which there is something new to say.
    """

    found: int
    missing: int
    changed: int


class Reconciler:
    """Asks each `settings.archive_every_s`, in a thread of its own; dry until it is told to speak.

    Args:
        now: wall clock, aware.
    """

    def __init__(
        self,
        settings: StreamsSettings,
        site: SiteLike,
        ring: KeyRing,
        publisher: PublisherLike,
        store: Store,
        now: Callable[[], datetime],
    ) -> None:
        self._settings, self._site, self._ring = settings, site, ring
        self._publisher, self._store, self._now = publisher, store, now
        self._address = address_of(settings)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begins; the first pass is at once."""
        self._thread.start()

    def stop(self) -> None:
        """Returns once the pass that is under way is over."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self.once(dry=self._settings.archive_dry)
            except (VigieError, OSError) as error:
                reason = error.reason.value if isinstance(error, VigieError) else "store_failed"
                metrics.archive_passes.labels("failed").inc()
                where = error.where if isinstance(error, VigieError) else ""
                log.warning("archive_not_asked", reason=reason, where=where)
            if self._closing.wait(self._settings.archive_every_s):
                return

    def once(self, *, dry: bool) -> Pass:
        """One pass. Dry: what would be said is counted, and nothing is said.

        Raises:
            Unavailable: `archive_down` where the archive does not answer, or the broker.
            Refuse: `unknown_sender` where the site does not know the archive.
            OSError: when the disk failed.
        """
        sender = self._site.sender_for_ae(self._address.title, self._address.host)
        note = self._store.recall(_NOTE)
        before = _SAID.validate_json(note) if note else {}
        said: dict[str, str] = {}
        missing = changed = 0
        until = self._now().astimezone(ZoneInfo(sender.timezone))
        since = until - timedelta(hours=self._settings.archive_hours)
        for study in self._address.archive.studies(since.date(), until.date()):
            event = self._event(study, sender)
            if event is None:
                continue
            uid = next(number.value for number in event.numbers if number.kind == "study")
            missing += not self._store.has_study(uid)
            # What it says, and the id of the last event about it: what is said again after
            # something else is a new event, and the same one again if this pass breaks off.
            last, _, given = before.get(uid, "").partition(" ")
            if last == event.version.digest:
                said[uid] = before[uid]
                continue
            changed += 1
            own = digest(event.event_id.encode(), given.encode())
            said[uid] = f"{event.version.digest} {own}"
            if not dry:
                self._publish(event.model_copy(update={"event_id": own}))
        if not dry and said != before:
            self._store.remember(_NOTE, _SAID.dump_json(said))
        metrics.archive_missing.set(missing)
        metrics.archive_passes.labels("dry" if dry else "said").inc()
        log.info("archive_asked", found=len(said), missing=missing, changed=changed, dry=dry)
        return Pass(len(said), missing, changed)

    def _event(self, data: bytes, sender: SenderLike) -> ExamProgressed | None:
        """What is said of one answer; None where it names no study, or one without an image."""
        values: gate.Values = {}
        items: dict[int, list[gate.Values]] = {}
        try:
            walker = Walker(data, Syntax(implicit=True))
            gate.collect(walker, data, values, items)
            count, modalities = _made_of(walker, data)
            uid = gate.uid(values.get(gate.STUDY, b""), "0020000D")
        except Refuse as refusal:
            metrics.refused.labels("dicom", refusal.reason.value).inc()
            return None
        if count == 0 or (modalities and modalities <= UNREADABLE_MODALITIES):
            return None
        words = Words(values, items, sender, self._site.authorities)
        who, now = identity_of(words), self._now()
        whole = digest(sender.name.encode(), data)
        return ExamProgressed(
            event_id=whole,
            sender=sender.name,
            received_at=now,
            version=Version(time=now, message_time=now, digest=whole),
            patient=patient_of(self._ring.pseudonym, who.issuer, who.patient_id),
            identity=self._ring.seal_identity(who) if who != Identity() else None,
            numbers=(Number(kind="study", value=uid), *accessions_of(words, [])),
            site=sender.site,
            status="available",
            announced_instances=count,
        )

    def _publish(self, event: ExamProgressed) -> None:
        key = topic_key(self._ring.pseudonym, event.numbers, event.patient)
        self._publisher.publish_sync(topics.SERIES.name, key, encode(event))


def _made_of(walker: Walker, data: bytes) -> tuple[int | None, set[str]]:
    """How many instances there are of a study, None where it does not say, and its modalities.
    Raises Refuse.
    """
    count, modalities = None, set[str]()
    for element in walker.elements(0, len(data)):
        stated = data[element.start : element.end].strip(b" \0")
        if element.tag == INSTANCES:
            count = int(stated) if stated.isdigit() and len(stated) < 10 else None
        elif element.tag == MODALITIES:
            modalities = {one.strip() for one in stated.decode("ascii", "replace").split("\\")}
    return count, modalities - {""}
