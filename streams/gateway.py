"""The gateway process: doors over one publisher. One that cannot make things durable says no."""

from __future__ import annotations

import asyncio
import gc
import secrets
from datetime import UTC, datetime
from functools import partial

from streams.dicom.door import DicomDoor
from streams.health import check_binding
from streams.hl7.door import MllpDoor
from streams.http.door import HttpDoor
from streams.identity.seal import read_ring
from streams.kafka.produce import Publisher
from streams.process import Process
from streams.senders.seen import Seen
from streams.senders.site import load_site


async def main(process: Process) -> None:
    """Serves until the process is to end; then answers what is under way.

    Raises:
        Misconfigured: a door would be open to everybody, or the site's folder, the key ring or a
            port cannot be used.
    """
    settings, stack = process.settings, process.stack
    # A message makes many objects and no circle: looking for circles took a tenth of its time.
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    check_binding(settings, protected=None not in (settings.mllp_tls_cert, settings.dicom_tls_cert))
    site, ring = load_site(settings.site), read_ring(settings.keys)
    publisher = Publisher(settings)
    stack.push_async_callback(asyncio.to_thread, publisher.close)
    seen = Seen(settings.name, site.senders, datetime.now(UTC))
    dicom = DicomDoor(settings, site, ring, publisher, seen=seen)
    mllp = MllpDoor(
        settings, site, ring, publisher, new_id=lambda: secrets.token_hex(10), seen=seen
    )
    http = HttpDoor(settings, site, ring, publisher, dicom.reception, seen=seen)
    await asyncio.to_thread(dicom.start)
    stack.push_async_callback(asyncio.to_thread, dicom.stop)
    await http.start()
    stack.push_async_callback(http.stop)
    await mllp.start()
    stack.push_async_callback(mllp.stop)
    if settings.archive:
        from streams.archive.reconciling import Reconciler  # pynetdicom, which few need

        now = partial(datetime.now, UTC)
        reconciler = Reconciler(settings, site, ring, publisher, dicom.store, now)
        reconciler.start()
        stack.push_async_callback(asyncio.to_thread, reconciler.stop)
    checks = {
        "kafka": publisher.reachable,
        "dicom": lambda: dicom.alive,
        "mllp": lambda: mllp.port != 0,
        "http": lambda: http.alive,
    }
    metrics = process.serve_health(checks)
    process.ready(mllp=mllp.port, dicom=dicom.port, door=http.port, metrics=metrics)
    await process.until_ended()
