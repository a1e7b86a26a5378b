"""What decoding one series may cost: memory, time, sizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one decoder process and of each request to it."""

    frame_bytes: int = 256 * 1024 * 1024  # one decoded frame
    reply_bytes: int = 512 * 1024 * 1024  # all frames of one answer, as float32
    memory_bytes: int = 2 * 1024**3  # address space of the process
    cpu_s: float = 30.0  # processor time of one request
    frame_cpu_s: float = 10.0  # of one header or frame: the largest takes a codec half of it
    wall_s: float = 60.0  # time of one request
    files: int = 8192  # headers read for one series
    frames: int = 16384  # frames that one file may claim
