"""What a site changes of its packages: `models.toml` of the site's folder."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from triage.packages.manifest import Strict

FILE = "models.toml"


class SitePackage(Strict):
    """One table of the file. What is left out is the package's own."""

    threshold: float = Field(
        gt=0.0,
        lt=1.0,
        description="calibrated probability from which a series of any number of images is flagged",
    )


_SCHEMA = TypeAdapter(dict[str, SitePackage])


def read_thresholds(site: Path, known: Collection[str]) -> dict[str, float]:
    """The site's own threshold of each package that it names; none without the file.

    Raises ValueError, in one line that names the file, where it cannot be read, names a package
    that is not among `known`, or says what the schema does not know.
    """
    try:
        text = (site / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{FILE}: cannot be read: {error}") from None
    try:
        packages = _SCHEMA.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{FILE}: no TOML: {error}") from None
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValueError(f"{FILE}: {'; '.join(wrong)}") from None
    if strange := sorted(packages.keys() - set(known)):
        there = ", ".join(sorted(known)) or "none"
        raise ValueError(f"{FILE}: {', '.join(strange)}: no such package (there are: {there})")
    return {name: package.threshold for name, package in packages.items()}
