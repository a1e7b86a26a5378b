"""Why a package may change the rank here: measured on the site's own images, or a stated reason."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

FILE = "live.toml"


class Ground(BaseModel):
    """One table of the file: a `vigie evaluate … --json` of the site's own images, or a reason.

    Attributes:
        evaluation: name of the file, in the site's folder.
        sha256: of that file.
        reason: why there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    evaluation: str = Field(default="", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$")
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    reason: str = Field(default="", max_length=500)

    @model_validator(mode="after")
    def _one_of_both(self) -> Ground:
        if bool(self.evaluation) == bool(self.reason.strip()):
            raise ValueError("give an evaluation with its sha256, or a reason")
        if bool(self.evaluation) != bool(self.sha256):
            raise ValueError("an evaluation and its sha256 belong together")
        return self


_SCHEMA = TypeAdapter(dict[str, Ground])


def read_grounds(site: Path) -> dict[str, Ground]:
    """The file of the site's folder; nothing without it. Raises ValueError, naming the file."""
    try:
        return _SCHEMA.validate_python(tomllib.loads((site / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{FILE}: cannot be read: {error}") from None
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ValueError(f"{FILE}: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None


def evaluation_of(site: Path, package: str, ground: Ground) -> dict[str, Any]:
    """What was measured. Raises ValueError where the file is not what the ground says."""
    try:
        content = (site / ground.evaluation).read_bytes()
    except OSError as error:
        raise ValueError(
            f"{FILE}: {package}: {ground.evaluation} cannot be read: {error.strerror}"
        ) from None
    if hashlib.sha256(content).hexdigest() != ground.sha256:
        raise ValueError(f"{FILE}: {package}: {ground.evaluation} has another sha256")
    try:
        told = json.loads(content)
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("package") != package or not told.get("n"):
        raise ValueError(
            f"{FILE}: {package}: {ground.evaluation} is no `vigie evaluate {package} … --json`"
        )
    return told


def check_live(site: Path, live: Iterable[str]) -> None:
    """Raises ValueError where a live package has no ground that holds."""
    grounds = read_grounds(site)
    for package in live:
        if package not in grounds:
            raise ValueError(
                f"live: {package}: measure it on images of your own (vigie evaluate), "
                f"or state a reason: {FILE}"
            )
        if grounds[package].evaluation:
            evaluation_of(site, package, grounds[package])
