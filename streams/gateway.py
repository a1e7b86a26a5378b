"""The gateway process: doors over one publisher. One that cannot make things durable says no."""

from __future__ import annotations

import asyncio
import secrets

from streams.dicom.door import DicomDoor
from streams.health import check_binding
from streams.hl7.door import MllpDoor
from streams.kafka.produce import Publisher
from streams.process import Process
from streams.seal import read_ring
from streams.site import load_site


async def main(process: Process) -> None:
    """Serves until the process is to end; then answers what is under way.

    Raises:
        Misconfigured: a door would be open to everybody, or the site's folder, the key ring or a
            port cannot be used.
    """
    settings, stack = process.settings, process.stack
    check_binding(settings, protected=settings.mllp_tls_cert is not None)
    site, ring = load_site(settings.site), read_ring(settings.keys)
    publisher = Publisher(settings)
    stack.push_async_callback(asyncio.to_thread, publisher.close)
    dicom = DicomDoor(settings, site, ring, publisher)
    mllp = MllpDoor(settings, site, ring, publisher, new_id=lambda: secrets.token_hex(10))
    await asyncio.to_thread(dicom.start)
    stack.push_async_callback(asyncio.to_thread, dicom.stop)
    await mllp.start()
    stack.push_async_callback(mllp.stop)
    checks = {
        "kafka": publisher.reachable,
        "dicom": lambda: dicom.alive,
        "mllp": lambda: mllp.port != 0,
    }
    metrics = process.serve_health(checks)
    process.ready(mllp=mllp.port, dicom=dicom.port, metrics=metrics)
    await process.until_ended()
