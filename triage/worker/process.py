"""`vigie triage`: a thin Faust shell around `intake`. Pixels and networks never run on its loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import faust

from streams import metrics as street
from streams.identity.seal import read_ring
from streams.kafka.consume import Origin, Settler
from streams.kafka.faust_app import make_app, stop_app, until_made_anew
from streams.kafka.produce import Publisher
from streams.kafka.topics import ORDERS, SERIES
from streams.kafka.watermarks import Watermarks
from streams.process import Process
from streams.storage.key_images import KeyImageFolder
from streams.storage.store import Store
from triage.decoding.limits import Limits
from triage.decoding.pool import DecoderPool
from triage.inference.queue import BatchQueue
from triage.settings import TriageSettings
from triage.worker.constancy import Constancy, ReferenceSeries
from triage.worker.intake import Intake
from triage.worker.key_images import KeyImages
from triage.worker.loaded_model import LoadedModel
from triage.worker.loading import refused_packages
from triage.worker.series import Analyst, make_threads
from triage.worker.urgency import URGENT

_STAGE = "triage"


def build_app(
    settings: TriageSettings, intake: Callable[[], Intake], app: faust.App | None = None
) -> faust.App:
    """The application: `series` go into the intake, `orders` into its hints."""
    app = app or make_app("vigie-triage", settings)
    series = app.topic(SERIES.name, key_type=bytes, value_type=bytes)
    orders = app.topic(ORDERS.name, key_type=bytes, value_type=bytes)

    @app.agent(series, name="series")
    async def take_series(stream: Any) -> AsyncIterator[None]:
        # `noack`: Faust would acknowledge when the next event is asked for; we do it when the
        # prefix is done.
        async for event in stream.noack().events():
            street.consumed.labels(_STAGE, SERIES.name).inc()
            message = event.message
            origin = Origin(
                message.topic,
                message.partition,
                message.offset,
                message.key or b"",
                message.value or b"",
            )
            await intake().on_series(origin, message.generation_id, event.ack)
            yield None

    @app.agent(orders, name="orders")
    async def take_orders(stream: Any) -> AsyncIterator[None]:
        async for value in stream:
            intake().on_order(value or b"")
            yield None

    return app


class Triage:
    """The parts of the screening process, opened in order onto the stack of `process`."""

    def __init__(
        self,
        process: Process,
        settings: TriageSettings,
        models: Sequence[LoadedModel],
        references: Sequence[ReferenceSeries],
    ) -> None:
        self.process = process
        self.settings = settings
        self.models = models
        self.references = references
        self.app: faust.App | None = None
        self.intake: Intake | None = None

    async def run(self) -> None:
        """Serves until the process is to end; what is under way is finished first."""
        process, stack = self.process, self.process.stack
        publisher = Publisher(self.settings)
        stack.callback(publisher.close)
        intake = self.intake = self._open_intake(stack, publisher)
        process.keep(intake.analyst.queue.run(intake.look_for_work))
        constancy = Constancy(intake.analyst, self.references)
        await constancy.once()
        app = self.app = build_app(self.settings, lambda: intake)
        app.finalize()
        await app.start()
        stack.push_async_callback(stop_app, app)
        # after `intake.run` ended, before Faust commits
        stack.push_async_callback(intake.drain, self.settings.drain_s)
        watermarks = Watermarks(self.settings)
        stack.callback(watermarks.close)
        process.keep(until_made_anew(app, watermarks))
        process.keep(intake.run())
        process.keep(intake.stopped.wait())  # an outcome said that going on would lose something
        process.keep(constancy.daily(self.settings.constancy_s))
        process.keep(self._tick(intake))
        metrics = process.serve_health({"kafka": publisher.reachable, "models": self._models_pass})
        serving = asyncio.create_task(self._say_when_ready(app, metrics))
        stack.callback(serving.cancel)
        await process.until_ended()

    def _open_intake(self, stack: AsyncExitStack, publisher: Publisher) -> Intake:
        settings = self.settings
        limits = Limits(
            memory_bytes=settings.decoder_memory,
            cpu_s=settings.decode_cpu_s,
            wall_s=settings.decode_wall_s,
        )
        decoders = DecoderPool(settings.decoders, limits)
        stack.callback(decoders.close)
        threads = make_threads(settings.decoders + 1)
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        key_images = KeyImages(KeyImageFolder(settings.key_images).put)
        stack.callback(key_images.close)
        store = Store(settings.store, min_free=settings.store_min_free)
        concurrent_batches = max((model.concurrent_batches for model in self.models), default=1)
        analyst = Analyst(
            self.models,
            decoders.decode,
            BatchQueue(
                {model.name: model.network for model in self.models},
                urgent=URGENT,
                concurrent_batches=concurrent_batches,
            ),
            store.path,
            threads,
            lambda: datetime.now(UTC),
            refused=refused_packages(settings, [model.name for model in self.models]),
            key_images=key_images,
        )
        settler = Settler(
            _STAGE, read_ring(settings.keys), publisher.publish, lambda: datetime.now(UTC)
        )
        return Intake(
            analyst,
            settler,
            publisher.publish,
            self._generation,
            settings.deadline_s,
            concurrent_decodes=settings.decoders + 1,
            read_ahead=settings.read_ahead,
        )

    def _generation(self) -> int:
        return 0 if self.app is None else int(self.app.consumer_generation_id)

    @staticmethod
    async def _tick(intake: Intake) -> None:
        """After a rebalance nothing may happen that would wake a reader that waits for room."""
        while True:
            await asyncio.sleep(1)
            await intake.tell_late()
            await intake.wake_readers()

    async def _say_when_ready(self, app: faust.App, metrics: int) -> None:
        # Faust has no event for it. Without partitions (more workers than partitions) this one
        # stands by.
        while not (app.consumer is not None and app.consumer.assignment()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        packages = [model.name for model in self.models]
        self.process.ready(metrics=metrics, packages=packages)

    def _models_pass(self) -> bool:
        """Whether each package that was loaded passed its last constancy check."""
        if self.intake is None:
            return False
        analyst = self.intake.analyst
        return not analyst.failed | analyst.drifted


async def main(
    process: Process,
    settings: TriageSettings,
    models: Sequence[LoadedModel],
    references: Sequence[ReferenceSeries],
) -> None:
    """Screens with `models` until the process is to end."""
    await Triage(process, settings, models, references).run()
