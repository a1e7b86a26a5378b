"""``vigie triage``: a thin Faust shell around `flow`; pixels and networks never run on its loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import faust

from streams import metrics as street
from streams.kafka.consume import Origin, Settler
from streams.kafka.faust_app import make_app, stop_app
from streams.kafka.produce import Publisher
from streams.kafka.topics import ORDERS, SERIES
from streams.process import Process
from streams.seal import read_ring
from streams.store import Store
from triage.decoding.headers import Limits
from triage.decoding.pool import Jail
from triage.inference.queue import Forward
from triage.settings import TriageSettings
from triage.worker.constancy import Constancy, Reference
from triage.worker.intake import Flow
from triage.worker.series import Analyst, Resident, make_threads
from triage.worker.urgency import URGENT

_STAGE = "triage"


def build_app(
    settings: TriageSettings, flow: Callable[[], Flow], app: faust.App | None = None
) -> faust.App:
    """The application: `series` go into the flow, `orders` into its hints."""
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
            await flow().take_in(origin, message.generation_id, event.ack)
            yield None

    @app.agent(orders, name="orders")
    async def take_orders(stream: Any) -> AsyncIterator[None]:
        async for value in stream:
            flow().learn(value or b"")
            yield None

    return app


class Triage:
    """The parts of the screening process, opened in order onto the stack of `process`."""

    def __init__(
        self,
        process: Process,
        settings: TriageSettings,
        residents: Sequence[Resident],
        references: Sequence[Reference] = (),
    ) -> None:
        self.process = process
        self.settings = settings
        self.residents = residents
        self.references = references
        self.app: faust.App | None = None
        self.flow: Flow | None = None

    async def run(self) -> None:
        """Serves until the process is to end; what is under way is finished first."""
        process, stack = self.process, self.process.stack
        publisher = Publisher(self.settings)
        stack.callback(publisher.close)
        flow = self.flow = self._flow(stack, publisher)
        process.keep(flow.analyst.forward.run())
        constancy = Constancy(flow.analyst, self.references)
        await constancy.once()
        app = self.app = build_app(self.settings, lambda: flow)
        app.finalize()
        await app.start()
        stack.push_async_callback(stop_app, app)
        # after `flow.run` ended, before Faust commits
        stack.push_async_callback(flow.drain, self.settings.drain_s)
        process.keep(flow.run())
        process.keep(flow.stopped.wait())  # an outcome said that going on would lose something
        process.keep(constancy.daily(self.settings.constancy_s))
        process.keep(self._tick(flow))
        metrics = process.serve_health({"kafka": publisher.reachable, "models": self._models_pass})
        serving = asyncio.create_task(self._say_when_ready(app, metrics))
        stack.callback(serving.cancel)
        await process.until_ended()

    def _flow(self, stack: AsyncExitStack, publisher: Publisher) -> Flow:
        settings = self.settings
        limits = Limits(
            memory_bytes=settings.decoder_memory,
            cpu_s=settings.decode_cpu_s,
            wall_s=settings.decode_wall_s,
        )
        jail = Jail(settings.decoders, limits)
        stack.callback(jail.close)
        threads = make_threads(settings.decoders + 1)
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        store = Store(settings.store, min_free=settings.store_min_free)
        at_once = max((r.at_once for r in self.residents), default=1)
        analyst = Analyst(
            self.residents,
            jail.decode,
            Forward({r.name: r.network for r in self.residents}, urgent=URGENT, at_once=at_once),
            store.path,
            threads,
            lambda: datetime.now(UTC),
        )
        settler = Settler(
            _STAGE, read_ring(settings.keys), publisher.publish, lambda: datetime.now(UTC)
        )
        return Flow(
            analyst,
            settler,
            publisher.publish,
            self._generation,
            settings.deadline_s,
            decoding=settings.decoders + 1,
            read_ahead=settings.read_ahead,
        )

    def _generation(self) -> int:
        return 0 if self.app is None else int(self.app.consumer_generation_id)

    @staticmethod
    async def _tick(flow: Flow) -> None:
        """After a rebalance nothing may happen that would wake a reader that waits for room."""
        while True:
            await asyncio.sleep(1)
            await flow.wake_readers()

    async def _say_when_ready(self, app: faust.App, metrics: int) -> None:
        # Faust has no event for it. Without partitions (more workers than partitions) this one
        # stands by.
        while not (app.consumer is not None and app.consumer.assignment()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        packages = [resident.name for resident in self.residents]
        self.process.ready(metrics=metrics, packages=packages)

    def _models_pass(self) -> bool:
        """Whether each package that was loaded passed its last constancy check."""
        return self.flow is not None and not self.flow.analyst.failed | self.flow.analyst.drifted


async def main(
    process: Process,
    settings: TriageSettings,
    residents: Sequence[Resident],
    references: Sequence[Reference] = (),
) -> None:
    """Screens with `residents` until the process is to end."""
    await Triage(process, settings, residents, references).run()
