"""The settings of triage: each with its default, its unit and a sentence."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from pydantic import Field

from streams.settings import StreamsSettings, metrics_port_of, name_of


def shipped_models() -> Path:
    """The folder of the packages that come with Vigie."""
    return Path(str(files("triage"))) / "models"


class TriageSettings(StreamsSettings):
    """What `vigie triage` needs beyond the settings of all processes (environment: VIGIE_…)."""

    name: str = name_of("triage-1")
    metrics_port: int = metrics_port_of(9102)
    models: Path = Field(
        default_factory=shipped_models, description="folder of model packages: one folder each"
    )
    device: str = Field(
        "auto",
        description="auto, cpu, cuda, or cuda:N for one of several GPUs",
        pattern="^(auto|cpu|cuda(:[0-9]{1,2})?)$",
    )
    compiled: Path = Field(
        Path(sys.prefix) / "compiled",
        description="networks compiled for this CPU by vigie models compile; ours alone to write",
    )
    torch_threads: int = Field(
        1,
        description="threads of one forward pass; more workers pay better on a shared machine",
        ge=1,
    )
    runner_memory: int = Field(
        8 * 1024**3,
        description="memory that one network from elsewhere (pt2, onnx) may allocate, bytes",
        ge=512 * 1024**2,
    )
    runner_wall_s: float = Field(
        60.0, description="time that it may take for one batch, seconds", gt=0
    )
    decoders: int = Field(2, description="decoder processes", ge=1)
    decoder_memory: int = Field(
        2 * 1024**3, description="address space of one decoder, bytes", ge=512 * 1024**2
    )
    decode_cpu_s: float = Field(
        30.0, description="processor time that decoding one series may take, seconds", gt=0
    )
    decode_wall_s: float = Field(
        60.0, description="time that decoding one series may take, seconds", gt=0
    )
    deadline_s: float = Field(
        120.0,
        description="after its last image, until a series is told as late, seconds; "
        "it is screened once there is room",
        gt=0,
    )
    read_ahead: int = Field(
        8192, description="series events read ahead of the last acknowledged one", ge=1
    )
    constancy_s: float = Field(
        86400.0, description="reference images are screened at start and each so many seconds", gt=0
    )
    drain_s: float = Field(
        10.0, description="at the end, what is under way gets so long, seconds", ge=0
    )
