"""The street's settings, each with default, unit and a sentence; environment: ``VIGIE_…``."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _beside_the_store(given: dict[str, Any]) -> Path:
    store: Path = given["store"]
    return store.with_name("key-images")


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
    key_images: Path = Field(
        default_factory=_beside_the_store,
        description="folder of pictures of what was flagged, beside the store where nothing is "
        "said: triage writes, web reads, gateways remove what has no pixels any more",
    )
    state: Path = Field(Path("."), description="folder for what a process remembers between starts")
    name: str = name_of("gateway-1")
    bind: str = Field("127.0.0.1", description="address the doors and pages listen on")
    mllp_port: int = Field(2575, description="HL7 over MLLP; 0 takes a free one", ge=0, le=65535)
    dicom_port: int = Field(11112, description="DICOM; 0 takes a free one", ge=0, le=65535)
    ae_title: str = Field("VIGIE", description="our AE title", max_length=16)
    metrics_port: int = metrics_port_of(9101)
    api_url: str = Field(
        "",
        description="page and API, http://host:port, that vigie send and vigie parked show ask",
        pattern=r"^(https?://[A-Za-z0-9.:\[\]-]+)?$",
    )
    api_token: SecretStr = Field(SecretStr(""), description="a reader's token, for the same")
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
    mllp_connections: int = Field(
        256,
        description="MLLP connections at once; addresses that no sender lists hold half at most",
        gt=0,
    )
    mllp_per_peer: int = Field(32, description="MLLP connections at once from one address", gt=0)
    mllp_balancers: tuple[str, ...] = Field(
        (),
        description="addresses or networks whose MLLP connections begin with a PROXY protocol v2 "
        'header, as JSON: ["10.0.0.5"]',
    )
    mllp_share_port: bool = Field(
        False, description="several gateways of this host listen on one MLLP port (SO_REUSEPORT)"
    )
    dicom_tls_cert: Path | None = Field(
        None, description="PEM certificate of the DICOM door; callers must present one too"
    )
    dicom_tls_key: Path | None = Field(None, description="PEM key of the DICOM door")
    dicom_tls_ca: Path | None = Field(
        None, description="PEM file of the CA of the DICOM callers; no other door's is asked"
    )
    dicom_connections: int = Field(600, description="DICOM associations at once", gt=0)
    dicom_connections_each: int = Field(
        64, description="DICOM associations at once of one caller (address and AE title)", gt=0
    )
    dicom_idle_s: float = Field(
        120, description="an association that is silent for so long is ended, seconds", gt=0
    )
    dicom_max_bytes: int = Field(2 * 1024**3, description="largest DICOM instance, bytes", gt=0)
    http_bind: str = Field(
        "127.0.0.1",
        description="address the HTTP door listens on: its own, so that it is closed to others "
        "until it is opened on purpose",
    )
    http_port: int = Field(
        8104, description="HTTP door (JSON, FHIR, STOW-RS); 0 takes a free one", ge=0, le=65535
    )
    http_tls_cert: Path | None = Field(
        None, description="PEM certificate of the HTTP door; callers must present one too"
    )
    http_tls_key: Path | None = Field(None, description="PEM key of the HTTP door")
    http_tls_ca: Path | None = Field(
        None, description="PEM file of the CA of the HTTP callers; no other door's is asked"
    )
    http_max_bytes: int = Field(
        4 * 1024 * 1024, description="largest body that is no image, bytes", gt=0
    )
    http_requests_each: int = Field(
        16, description="requests at once of one sender; more are told to come again", gt=0
    )
    archive: str = Field(
        "",
        description="an archive that does not push is asked what it has: AE@host:port by C-FIND, "
        "AE@https://host/path by QIDO-RS; the AE title is its sender's; empty: nobody is asked",
    )
    archive_authorization: SecretStr = Field(
        SecretStr(""),
        description="Authorization header that QIDO-RS is asked with, as Bearer …; empty: none",
    )
    archive_ca: Path | None = Field(
        None, description="PEM file of the CA that signed the archive; without it the system's"
    )
    archive_every_s: float = Field(300, description="between two questions, seconds", gt=0)
    archive_hours: float = Field(
        24, description="it is asked for studies of so many hours", gt=0, le=24 * 14
    )
    archive_dry: bool = Field(
        True,
        description="what would be said of the archive's studies is counted and not said; look at "
        "the count first, then set it to 0",
    )
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

    @field_validator("mllp_balancers")
    @classmethod
    def _networks(cls, stated: tuple[str, ...]) -> tuple[str, ...]:
        for text in stated:
            ip_network(text)
        return stated


def describe(settings: BaseSettings) -> dict[str, str]:
    """Each setting and its value, secrets starred: what a process prints at start."""
    values = settings.model_dump()
    return {
        name: "***" if isinstance(value, SecretStr) and value.get_secret_value() else str(value)
        for name, value in values.items()
    }
