"""The references of settings, metrics and doors, as code: ``python -m infra.docs.build`` writes the
pages from what the packages declare; a test finds a page that is stale.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from infra.docs import hl7_profile
from infra.docs.statements import WRITTEN, dicom_page, http_page
from infra.settings import HOUSES
from streams.settings import StreamsSettings

ROOT = Path(__file__).resolve().parents[2]
SETTINGS, METRICS = ROOT / "infra" / "docs" / "settings.md", ROOT / "infra" / "docs" / "metrics.md"
PACKAGES = ("streams", "triage", "worklist", "infra")
#: Whose settings those of each of `HOUSES` are.
_HEADINGS = ("Every process", "`vigie triage` alone", "`vigie worklist` and `vigie web`")
#: What is given where nothing is given; a default may follow another.
_DEFAULTS = {name: field.default for name, field in StreamsSettings.model_fields.items()}
#: What each kind of metric adds to its name when a process shows it.
SUFFIXES = {"Counter": ("",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}


@dataclass(frozen=True)
class Metric:
    """One metric as the code declares it; `place` is the module, from the repository's root."""

    name: str
    kind: str
    says: str
    labels: tuple[str, ...]
    place: str


@cache
def metrics() -> tuple[Metric, ...]:
    """Every metric that the four packages declare, read from the source: a process may lack a
    package, the page lacks none.
    """
    return tuple(
        metric
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        if (metric := _metric(call, path.relative_to(ROOT).as_posix()))
    )


def _metric(call: ast.Call, place: str) -> Metric | None:
    if not (isinstance(call.func, ast.Name) and call.func.id in SUFFIXES and len(call.args) > 1):
        return None
    name, says, *labels = call.args
    if not (isinstance(name, ast.Constant) and isinstance(says, ast.Constant)):
        return None
    named = tuple(ast.literal_eval(labels[0])) if labels else ()
    return Metric(str(name.value), call.func.id.lower(), str(says.value), named, place)


def metrics_page() -> str:
    """The text of `METRICS`."""
    lines = [
        "# Metrics",
        "",
        WRITTEN,
        "Each process shows its own at `/metrics`. A label's values come from closed lists, and",
        "none holds an identity. A histogram shows `_bucket`, `_sum` and `_count`.",
        "What wakes somebody: [runbooks](../runbooks/README.md).",
    ]
    by_place: dict[str, list[Metric]] = {}
    for metric in metrics():
        by_place.setdefault(metric.place, []).append(metric)
    for place, found in by_place.items():
        lines += ["", f"## [{place}](../../{place})", ""]
        lines += ["| metric | kind | labels | what it says |", "|---|---|---|---|"]
        for one in sorted(found, key=lambda one: one.name):
            labels = ", ".join(f"`{label}`" for label in one.labels)
            lines.append(f"| `{one.name}` | {one.kind} | {labels} | {_cell(one.says)} |")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """The text of `SETTINGS`."""
    lines = [
        "# Settings",
        "",
        WRITTEN,
        "Settings are environment variables. Each process prints its own at start, secrets",
        "starred; `vigie check` names one that does not exist. Senders, codes, the policy,",
        "thresholds and readers are no settings: they stand in the site's folder, `VIGIE_SITE`",
        "([the example](../site/)).",
    ]
    inherited: set[str] = set()
    for house, heading in zip(HOUSES, _HEADINGS, strict=True):
        place = house.__module__.replace(".", "/") + ".py"
        lines += ["", f"## {heading}", "", f"Declared in [{place}](../../{place}).", ""]
        lines += ["| setting | default | allowed | what it is |", "|---|---|---|---|"]
        for name, field in house.model_fields.items():
            if name not in inherited:
                lines.append(_row(name, field))
        inherited |= house.model_fields.keys()
    return "\n".join(lines) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    return (
        f"| `VIGIE_{name.upper()}` | {_default(field)} | {_allowed(field)} "
        f"| {_cell(field.description or '')} |"
    )


def _default(field: FieldInfo) -> str:
    """The default as text that is the same on every machine."""
    value = field.get_default(call_default_factory=True, validated_data=_DEFAULTS)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path) and value.is_absolute():
        for top, word in ((Path(sys.prefix), "of the virtual environment"), (ROOT, "as installed")):
            if value.is_relative_to(top):
                return f"`{value.relative_to(top)}`, {word}"
        raise ValueError(f"{field.description}: the default {value} is of this machine alone")
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "none" if value in (None, "") else f"`{value}`"


def _allowed(field: FieldInfo) -> str:
    signs = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("max_length", "length ≤"))
    found = [
        f"{sign} {getattr(rule, bound)}"
        for rule in field.metadata
        for bound, sign in signs
        if getattr(rule, bound, None) is not None
    ]
    return ", ".join(found)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def statements() -> dict[Path, str]:
    """The pages of the doors: by file the text."""
    return {METRICS.with_name("dicom.md"): dicom_page(), METRICS.with_name("http.md"): http_page()}


if __name__ == "__main__":
    SETTINGS.write_text(settings_page())
    METRICS.write_text(metrics_page())
    for page, text in statements().items():
        page.write_text(text)
    hl7_profile.PAGE.write_text(hl7_profile.page())
