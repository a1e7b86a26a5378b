"""One of our processes while its stage is measured: started, ready, and stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.embedded import free_port
from infra.supervisor import Supervisor
from streams.identity.seal import KeyRing, write_ring


@contextmanager
def process(
    stage: str, folder: Path, broker: str, ring: KeyRing, settings: Mapping[str, object]
) -> Iterator[None]:
    """``vigie STAGE`` on the mock at `broker`; its state and the keys of `ring` are in `folder`."""
    for name in ("keys", "act-keys", "audit-keys"):
        write_ring(ring, folder / f"{name}.json")
    common = {
        "kafka": broker,
        "kafka_mock": 1,
        "keys": folder / "keys.json",
        "act_keys": folder / "act-keys.json",
        "audit_keys": folder / "audit-keys.json",
        "state": folder,
        "metrics_port": free_port(),
    }
    supervisor = Supervisor(folder)
    supervisor.add(
        stage,
        stage,
        {f"VIGIE_{name.upper()}": str(value) for name, value in {**common, **settings}.items()},
    )
    supervisor.start()
    try:
        supervisor.wait()
        yield
    finally:
        supervisor.stop()
