"""What only ever travels inside a seal: who the patient is, and text that may name somebody."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Code = Annotated[str, Field(max_length=64)]


class OtherNumber(BaseModel):
    """A patient number that is kept and shown, and joins nobody (INS with its PID-32)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    value: Code
    authority: Code = ""
    kind: Code = ""
    reliability: Code = ""


class Identity(BaseModel):
    """Who the patient is. Only ever inside a seal; opened to be stored or shown.

    None: not mentioned; empty: the sender emptied it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    patient_id: str = ""
    issuer: str = Field(default="", description="the number's authority; empty: open")
    name: str | None = None
    birth_date: str | None = Field(default=None, description="YYYYMMDD")
    sex: str | None = None
    others: tuple[OtherNumber, ...] = ()
    doubtful: bool = Field(default=False, description="bytes that no character set explains")

    # pydantic's own way costs more than all that a message says of a patient.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __repr__(self) -> str:
        # A traceback or a log line that quotes it names nobody.
        return "Identity(…)"

    __str__ = __repr__


class _Sealed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    __str__ = __repr__


class OrderDetails(_Sealed):
    """What a reader wants to know of an order beside. Only ever inside a seal."""

    indication: str = ""
    referrer: str = Field(default="", description="family^given")
    call_back: str = Field(default="", description="telephone")
    pregnant: bool | None = None
    isolation: str = ""


class ReportText(_Sealed):
    """The text of a report, for its outcome. Only ever inside a seal."""

    text: str = ""
