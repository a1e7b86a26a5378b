"""Acts the day out: each step at its time, through the senders; keeps what the report needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime

from confluent_kafka import Producer

from infra.demo import dicom_files, hl7_messages
from infra.demo.case import Case, Day, Step
from infra.demo.senders import Ehr, MllpSender, Modality, Tally
from streams.kafka.topics import ORDERS

_GIVE_UP_S = 60.0
_MODALITIES = 3
_IMAGES = frozenset({"images", "images_again", "late_images", "damaged_images", "broken_file"})


@dataclass
class Seen:
    """What a case's sender was told: wall times of positive answers, to images and to anything."""

    first_answer: float | None = None
    images: float | None = None
    first_images: float | None = None
    cancelled: bool = False


@dataclass
class Traffic:
    """Plays `day` at `speed` simulated seconds a second, through the doors of one installation."""

    day: Day
    speed: float
    mllp: str
    dicom: str
    ae_title: str
    kafka: str
    door: str
    token: str
    tally: Tally = field(default_factory=Tally)
    seen: dict[int, Seen] = field(default_factory=dict)
    poisoned: int = 0
    started: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def play(self, progress: Callable[[int, int], None]) -> None:
        """All steps, then waits for the last answer. The RIS sends in order over one connection, as
        interface engines do.
        """
        self.seen = {case.number: Seen() for case in self.day.cases}
        self.started = time.monotonic()
        ris = ThreadPoolExecutor(1, "ris")
        modalities = ThreadPoolExecutor(_MODALITIES, "modality")
        sender = MllpSender(self.mllp)
        try:
            tasks: list[Future[None]] = []
            for number, step in enumerate(self.day.steps):
                at = self.started + step.at / self.speed
                if self._stop.wait(max(0.0, at - time.monotonic())):
                    break
                progress(number, len(self.day.steps))
                case = self.day.cases[step.case]
                if step.act in _IMAGES:
                    tasks.append(modalities.submit(self._image, step, case))
                elif step.act == "ehr_order":
                    tasks.append(modalities.submit(self._by_fhir, step, case))
                elif step.act == "poison":
                    tasks.append(ris.submit(self._poison))
                else:
                    tasks.append(ris.submit(self._message, sender, number, step, case))
            for task in tasks:
                task.result()
            sender.close()
        finally:
            # After Ctrl-C nothing is waited for: what a thread still sends ends with the doors.
            for pool in (ris, modalities):
                pool.shutdown(wait=False, cancel_futures=True)
        progress(len(self.day.steps), len(self.day.steps))

    def stop(self) -> None:
        """Nothing more is sent."""
        self._stop.set()

    def _message(self, sender: MllpSender, number: int, step: Step, case: Case) -> None:
        # The same order again is the same message again: same control id, same bytes but for the
        # time in MSH-7.
        control = (
            f"D{case.number}-order"
            if step.act in ("order", "order_again", "booking")
            else f"D{case.number}-{step.act}-{number}"
        )
        message = hl7_messages.build(step.act, case, control, datetime.now(UTC))
        if sender.deliver(
            message, step.act, self.tally, give_up=_GIVE_UP_S, stop=self._stop
        ) and step.act not in ("merge", "test_order", "twin_order", "transfer"):
            with self._lock:
                seen = self.seen[case.number]
                seen.first_answer = seen.first_answer or time.time()
                seen.cancelled = seen.cancelled or step.act == "cancel"

    def _image(self, step: Step, case: Case) -> None:
        now = datetime.now(UTC)
        if step.act == "broken_file":
            images = dicom_files.broken(case, now)
        else:
            images = dicom_files.instances(case, now, series=2 if step.act == "late_images" else 1)
        modality = Modality(self.dicom, self.ae_title)
        if modality.deliver(images, step.act, self.tally, give_up=_GIVE_UP_S, stop=self._stop):
            with self._lock:
                seen = self.seen[case.number]
                seen.images = time.time()
                seen.first_images = seen.first_images or seen.images
                seen.first_answer = seen.first_answer or seen.images

    def _by_fhir(self, step: Step, case: Case) -> None:
        ehr = Ehr(self.door, self.token)
        if ehr.deliver(case, step.act, self.tally, give_up=_GIVE_UP_S, stop=self._stop):
            with self._lock:
                seen = self.seen[case.number]
                seen.first_answer = seen.first_answer or time.time()

    def _poison(self) -> None:
        """Bytes on a topic that are no event: they must be parked, and the next be on time."""
        self.tally.count("sent", "poison")
        producer = Producer(
            {
                "bootstrap.servers": self.kafka,
                "acks": "all",
                "message.timeout.ms": 30000,
                "log_level": 2,
            }
        )
        producer.produce(ORDERS.name, key=b"poison", value=b'{"type": "Nonsense"}')
        if producer.flush(30) == 0:
            self.poisoned += 1
            self.tally.count("answered", "poison:stored")
