"""The list's settings, over the street's."""

from __future__ import annotations

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
    batch: int = Field(200, description="events in one transaction at most", gt=0, le=2000)
    batch_wait_s: float = Field(
        0.05, description="a batch waits so long for more events, seconds", gt=0
    )
    lease_s: float = Field(
        900, description="a claim that nobody renews ends after so long, seconds", gt=0
    )
    web_port: int = Field(8080, description="page and API; 0 takes a free one", ge=0, le=65535)
    tokens: SecretStr = Field(
        SecretStr(""),
        description="extra bearer tokens, name:role:token,… (else the site's readers.toml)",
    )
    open_demo: bool = Field(
        False, description="loopback only: a browser is signed in as a lead without a token"
    )

    @field_validator("database")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        if (url := value.get_secret_value()) and not url.startswith(_SCHEMES):
            raise ValueError("not an address of the form postgresql://user:password@host:port/name")
        return value


class WebSettings(WorklistSettings):
    """The same, as ``vigie web`` is called by default."""

    name: str = name_of("web-1")
