"""What ``vigie check`` finds wrong: with a site before anything starts (its folder, the settings,
whose modules answer), and with the list in the database, where one is configured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy.exc import ArgumentError

from infra.cli import strangers
from infra.settings import HOUSES, unknown
from streams.errors import Unavailable, VigieError
from streams.process import explain
from streams.senders.site import load_site
from triage.packages.load import PackageError, find_packages, load_package
from triage.packages.thresholds import read_thresholds
from triage.packages.trust import read_keys, vouched_by
from triage.settings import TriageSettings, shipped_models
from worklist.order import policy
from worklist.order.going_live import check_live, evaluation_of, read_grounds
from worklist.settings import WorklistSettings
from worklist.sql.database import make_engine, translated
from worklist.sql.invariants import violations
from worklist.sql.roles import weaknesses
from worklist.web.door.auth import read_readers


def check_site(site: Path, environment: Mapping[str, str] = os.environ) -> list[str]:
    """One line for each mistake in the folder `site`, in the settings, in what is installed and in
    the list; none when all is sound.
    """
    found = [
        f"{name}: another distribution answers to this name: "
        "give vigie a virtual environment of its own"
        for name in strangers()
    ]
    found += _settings(environment)
    found += _list()
    if not site.is_dir():
        return [*found, f"{site}: no such folder: VIGIE_SITE names the site's folder"]
    for file, read in _FILES.items():
        try:
            read(site)
        except FileNotFoundError as error:
            found.append(f"{Path(error.filename or file).name}: missing from {site}")
        except OSError as error:
            found.append(f"{file}: cannot be read ({error.strerror})")
        except UnicodeDecodeError:
            found.append(f"{file}: is not UTF-8")
        except (ValueError, VigieError, PackageError) as error:
            found += _lines(file, error)
    return found


def _readers(site: Path) -> None:
    """Raises ValueError, naming the mistakes; FileNotFoundError is left out: VIGIE_TOKENS may name
    the readers instead.
    """
    read_readers(site / "readers.toml", "")


def _policy(site: Path) -> None:
    """A name that no package has would leave the package that was meant in shadow, unsaid."""
    if strange := sorted(set(policy.load(site).live) - set(_packages())):
        raise ValueError(
            f"live: {', '.join(strange)}: no such package (there are: {', '.join(_packages())})"
        )


def _models(site: Path) -> None:
    """What a package cannot take would keep `vigie triage` from serving it."""
    for name, own in read_thresholds(site, _packages()).items():
        try:
            package = load_package(_models_folder() / name)
        except PackageError:  # told of VIGIE_MODELS
            continue
        own.applied(package)


def _vouched(site: Path) -> None:
    """Each package has somebody who vouches, and passes its checks, as `vigie triage` asks."""
    keys = read_keys(site)
    wrong = []
    for folder in find_packages(_models_folder()):
        try:
            vouched_by(load_package(folder), keys)
        except PackageError as error:
            wrong.append(str(error))
    if wrong:
        raise ValueError("; ".join(wrong))


def _live(site: Path) -> None:
    """Each live package has a ground; what was measured is the network that is served."""
    grounds = read_grounds(site)
    try:
        live = set(policy.load(site).live) & set(_packages())
    except (ValueError, OSError):  # told of policy.toml
        return
    check_live(site, sorted(live))
    for name in sorted(live):
        if grounds[name].evaluation:
            told = evaluation_of(site, name, grounds[name])
            if told.get("network_sha256") != load_package(_models_folder() / name).network_sha256:
                raise ValueError(f"{name}: {grounds[name].evaluation} measured another network")


def _models_folder() -> Path:
    try:
        return TriageSettings().models
    except ValidationError:  # told among the settings
        return shipped_models()


def _packages() -> list[str]:
    return [package.name for package in find_packages(_models_folder())]


_FILES: dict[str, Callable[[Path], object]] = {
    "policy.toml": _policy,
    "models.toml": _models,
    "VIGIE_MODELS": _vouched,
    "live.toml": _live,
    "readers.toml": _readers,
    "senders.toml, codes.toml and authorities.toml": load_site,
}


def _lines(file: str, error: Exception) -> Iterator[str]:
    """`error` in lines that each name a file: the pieces of a validation error, else what its text
    joins by semicolons.
    """
    if isinstance(error, ValidationError):
        for piece in error.errors(include_input=False, include_url=False):
            yield f"{file}: {'.'.join(map(str, piece['loc']))}: {piece['msg']}"
        return
    for line in str(error).split("; "):
        yield line if ".toml" in line.partition(":")[0] else f"{file}: {line}"


def _list() -> list[str]:
    """What must hold in the list's database and does not: a line each. None without a database."""
    try:
        url = WorklistSettings().database.get_secret_value()
    except ValidationError:  # told among the settings
        return []
    if not url:
        return []
    try:
        engine = make_engine(url)
    except ArgumentError:
        return ["VIGIE_DATABASE: is no address: postgresql://user:password@host:port/name"]
    try:
        with translated(), engine.connect() as connection:
            broken, may = violations(connection), weaknesses(connection)
    except Unavailable as error:
        if error.where == "schema":
            return ["VIGIE_DATABASE: has not the schema of this release: run `vigie migrate`"]
        return ["VIGIE_DATABASE: no answer: is it running, are address and password right?"]
    finally:
        engine.dispose()
    wrong = [f"the list: not so: {name}: see {', '.join(rows)}" for name, rows in broken.items()]
    return wrong + [f"VIGIE_DATABASE: {what}: use the role vigie_app" for what in may]


def _settings(environment: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    for house in HOUSES:
        try:
            house()
        except ValidationError as error:
            lines = explain(error)[0].split("; ")
            found += [line for line in lines if line not in found]
    # Other programs may have names of their own that begin like ours; what looks like a setting,
    # misspelt, is a mistake.
    return found + [
        f"{name}: no such setting; {near} is one"
        for name, near in unknown(environment).items()
        if near
    ]
