"""The list's settings, over the street's."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator

from streams.settings import StreamsSettings, metrics_port_of, name_of

_SCHEMES = ("postgresql://", "postgres://", "postgresql+psycopg://")


class WorklistSettings(StreamsSettings):
    """What ``vigie worklist`` and ``vigie web`` need."""

    name: str = name_of("worklist-1")
    metrics_port: int = metrics_port_of(9103)
    database: SecretStr = Field(
        SecretStr(""),
        description="PostgreSQL (15 or newer) address: postgresql://user:password@host:port/name",
    )
    act_keys: Path = Field(
        Path("act-keys.json"),
        description="key ring that seals acts of persons: only web and worklist hold it",
    )
    database_owner: SecretStr = Field(
        SecretStr(""), description="its address for the tables' owner: vigie migrate; else the same"
    )
    database_sealer: SecretStr = Field(
        SecretStr(""), description="its address for who seals the audit; else the same"
    )
    audit_keys: Path = Field(
        Path("audit-keys.json"),
        description="key ring that seals the audit: vigie worklist and vigie audit alone read it",
    )
    statement_s: float = Field(
        60, description="a database statement that runs longer is ended, seconds", gt=0
    )
    closed_months: int = Field(
        120, description="closed rows stay on the searchable list for so long, months", gt=0
    )
    batch: int = Field(200, description="events in one transaction at most", gt=0, le=2000)
    batch_wait_s: float = Field(
        0.05, description="a batch waits so long for more events, seconds", gt=0
    )
    stale_s: float = Field(
        60,
        description="the list counts as stale, and /readyz says no, when an acknowledged event has "
        "waited for so long, seconds",
        gt=0,
    )
    ai_late_s: float = Field(
        240,
        description="the page says that AI is late when a study waits for so long after its last "
        "image, seconds; twice VIGIE_DEADLINE_S",
        gt=0,
    )
    stall_s: float = Field(
        180,
        description="an agent that does nothing for so long, though events wait and nothing it "
        "needs is away, ends itself, seconds",
        gt=0,
    )
    lease_s: float = Field(
        150, description="a claim that nobody renews ends after so long, seconds", gt=0
    )
    web_port: int = Field(8080, description="page and API; 0 takes a free one", ge=0, le=65535)
    web_origin: str = Field(
        "",
        description="how browsers name the page when a TLS proxy stands before it: "
        "https://host[:port]; cookies are Secure then",
        pattern=r"^(https?://[A-Za-z0-9.:\[\]-]+)?$",
    )
    web_proxies: str = Field(
        "", description="addresses of proxies whose X-Forwarded-For is believed, with commas"
    )
    tokens: SecretStr = Field(
        SecretStr(""),
        description="extra bearer tokens, name:role:token,… (else the site's readers.toml)",
    )
    open_demo: bool = Field(
        False, description="loopback only: a browser is signed in as a lead without a token"
    )

    @field_validator("database", "database_owner", "database_sealer")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        if (url := value.get_secret_value()) and not url.startswith(_SCHEMES):
            raise ValueError("not an address of the form postgresql://user:password@host:port/name")
        return value


class WebSettings(WorklistSettings):
    """The same, as ``vigie web`` is called by default."""

    name: str = name_of("web-1")
