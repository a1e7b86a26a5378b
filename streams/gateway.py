"""The gateway process: the doors over one publisher. A door that cannot make things durable says
no.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal

import structlog

from streams.dicom.door import DicomDoor
from streams.health import check_binding, check_broker, serve_health, write_ready
from streams.hl7.door import MllpDoor
from streams.kafka.produce import Publisher
from streams.seal import read_ring
from streams.settings import StreamsSettings
from streams.site import load_site

log = structlog.get_logger()


async def run(settings: StreamsSettings) -> None:
    """Serves until SIGTERM or SIGINT; then answers what is under way and leaves.

    Raises:
        Refuse: an open door on a non-loopback address, or no broker is named.
        ValueError, OSError: the site's folder, the key ring or a port cannot be used.
    """
    check_broker(settings)
    check_binding(settings, protected=settings.mllp_tls_cert is not None)
    site, ring = load_site(settings.site), read_ring(settings.keys)
    publisher = Publisher(settings)
    dicom = DicomDoor(settings, site, ring, publisher)
    mllp = MllpDoor(settings, site, ring, publisher, new_id=lambda: secrets.token_hex(10))
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await asyncio.to_thread(dicom.start)
    await mllp.start()
    health = serve_health(
        settings,
        {
            "kafka": publisher.reachable,
            "dicom": lambda: dicom.alive,
            "mllp": lambda: mllp.port != 0,
        },
    )
    write_ready(
        settings,
        {"mllp": mllp.port, "dicom": dicom.port, "metrics": health.port, "pid": os.getpid()},
    )
    log.info("serving", mllp=mllp.port, dicom=dicom.port, metrics=health.port)
    try:
        await ended.wait()
    finally:
        await mllp.stop()
        await asyncio.to_thread(dicom.stop)
        await asyncio.to_thread(publisher.close)
        health.stop()
