"""What a site changes of its packages: `models.toml` of the site's folder."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from triage.packages.input_spec import Strict
from triage.packages.load import Package, PackageError

FILE = "models.toml"


_Probability = Annotated[float | None, Field(gt=0.0, lt=1.0)]


class SitePackage(Strict):
    """One table of the file. What is left out is the package's own.

    One image alone has a scale of its own, because less often than a series it has the finding: so
    it has a threshold of its own.

    Attributes:
        threshold: calibrated probability from which a series of several images is flagged.
        threshold_of_one_image: the same, of a series of one image.
        prevalence: share of the site's cases that have the finding: probabilities are said for it.
            What is flagged by the package's own threshold stays.
    """

    threshold: _Probability = None
    threshold_of_one_image: _Probability = None
    prevalence: _Probability = None

    @model_validator(mode="after")
    def _says_something(self) -> SitePackage:
        if self.threshold is self.threshold_of_one_image is self.prevalence is None:
            raise ValueError("threshold, threshold_of_one_image or prevalence is to be given")
        return self

    def applied(self, package: Package) -> Package:
        """`package` as the site has it. Raises PackageError, which names the file."""
        try:
            if self.prevalence is not None:
                package = package.at_prevalence(self.prevalence)
            return package.flagging_at(self.threshold, self.threshold_of_one_image)
        except PackageError as error:
            raise PackageError(f"{FILE}: {error}") from None


_SCHEMA = TypeAdapter(dict[str, SitePackage])


def read_thresholds(site: Path, known: Collection[str]) -> dict[str, SitePackage]:
    """The site's own thresholds of each package that it names; none without the file.

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
    return packages
