"""The street's settings, each with default, unit and a sentence; environment: ``VIGIE_…``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def name_of(default: str) -> Any:
    """The setting ``name``, whose default differs by kind of process."""
    return Field(
        default,
        description="this process's name among its kind, stable over restarts; "
        "the first of each is gateway-1, triage-1, worklist-1, web-1",
    )


def metrics_port_of(default: int) -> Any:
    """The setting ``metrics_port``, whose default differs by kind of process."""
    return Field(
        default,
        description="/metrics, /livez, /readyz: 9101 gateway, 9102 triage, 9103 worklist; web "
        "shows them on its own port; 0 takes a free one",
        ge=0,
        le=65535,
    )


class StreamsSettings(BaseSettings):
    """What every process needs."""

    model_config = SettingsConfigDict(env_prefix="VIGIE_", extra="ignore", frozen=True)

    site: Path = Field(
        Path("infra/site"),
        description="folder of the site: senders, codes, policies, thresholds, readers",
    )
    kafka: str = Field("", description="bootstrap servers, host:port,…; empty refuses to start")
    kafka_security: str = Field(
        "PLAINTEXT",
        description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
        pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$",
    )
    kafka_username: str = Field("", description="SASL user (SCRAM-SHA-512)")
    kafka_password: SecretStr = Field(SecretStr(""), description="SASL password")
    kafka_ca: Path | None = Field(None, description="PEM file of the CA that signed the brokers")
    kafka_mock: bool = Field(
        False, description="the broker is the embedded mock: demo and tests only"
    )
    keys: Path = Field(
        Path("keys.json"), description="key ring: seals and pseudonyms; vigie keys makes it"
    )
    store: Path = Field(
        Path("store"), description="folder where pixels wait: shared by gateways and triage"
    )
    state: Path = Field(Path("."), description="folder for what a process remembers between starts")
    name: str = name_of("gateway-1")
    bind: str = Field("127.0.0.1", description="address the doors and pages listen on")
    mllp_port: int = Field(2575, description="HL7 over MLLP; 0 takes a free one", ge=0, le=65535)
    dicom_port: int = Field(11112, description="DICOM; 0 takes a free one", ge=0, le=65535)
    ae_title: str = Field("VIGIE", description="our AE title", max_length=16)
    metrics_port: int = metrics_port_of(9101)
    mllp_tls_cert: Path | None = Field(
        None, description="PEM certificate of the MLLP door; with it clients must present one too"
    )
    mllp_tls_key: Path | None = Field(None, description="PEM key of the MLLP door")
    mllp_tls_ca: Path | None = Field(None, description="PEM file of the CA of the MLLP senders")
    mllp_max_bytes: int = Field(4 * 1024 * 1024, description="largest HL7 message, bytes", gt=0)
    mllp_idle_s: float = Field(
        300, description="an MLLP connection that is silent for so long is closed, seconds", gt=0
    )
    mllp_message_s: float = Field(
        30, description="a message must be whole so soon after its first byte, seconds", gt=0
    )
    mllp_connections: int = Field(256, description="MLLP connections at once", gt=0)
    dicom_connections: int = Field(50, description="DICOM associations at once", gt=0)
    dicom_max_bytes: int = Field(2 * 1024**3, description="largest DICOM instance, bytes", gt=0)
    quiet_s: float = Field(
        2.0,
        description="a series whose sender opens one association per image is published after so "
        "much silence, seconds",
        gt=0,
    )
    store_min_free: float = Field(
        0.05,
        description="share of the disk that stays free: below it C-STORE answers 0xA700",
        ge=0,
        le=1,
    )
    store_days: float = Field(
        3.0,
        description="pixels stay for so long for re-screening, then they are removed, days",
        gt=0,
    )
    confirm_s: float = Field(
        10.0, description="a door waits so long for the broker before it answers no, seconds", gt=0
    )
    insecure: bool = Field(
        False, description="allow a non-loopback address without TLS and tokens; a lab's switch"
    )
    log: str = Field(
        "text",
        description="text or json: the lines on stderr; vigie --log sets it for one command",
        pattern="^(text|json)$",
    )
    ready_file: Path | None = Field(
        None, description="written once this process serves: its ports, as JSON"
    )


def describe(settings: BaseSettings) -> dict[str, str]:
    """Each setting and its value, secrets starred: what a process prints at start."""
    values = settings.model_dump()
    return {
        name: "***" if isinstance(value, SecretStr) and value.get_secret_value() else str(value)
        for name, value in values.items()
    }
