"""A package ranks where it was measured on the site's own images, or a reason is stated."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from worklist.order.going_live import FILE, check_live

PACKAGE = "head-ct-ich"
MEASURED = json.dumps({"package": PACKAGE, "version": "1.0.0", "n": 120, "auroc": 0.9})


def say(site: Path, content: str, measured: str = MEASURED) -> None:
    (site / "measured.json").write_text(measured)
    sha256 = hashlib.sha256(measured.encode()).hexdigest()
    (site / FILE).write_text(content.replace("SHA256", sha256))


@pytest.mark.parametrize(
    "content",
    [
        f'[{PACKAGE}]\nevaluation = "measured.json"\nsha256 = "SHA256"\n',
        f'[{PACKAGE}]\nreason = "watched by Dr Wren until April"\n',
    ],
    ids=["measured", "reason"],
)
def test_a_measured_package_and_one_with_a_reason_may_go_live(
    site_folder: Path, content: str
) -> None:
    say(site_folder, content)
    check_live(site_folder, [PACKAGE])


@pytest.mark.parametrize(
    ("content", "measured", "why"),
    [
        ("", MEASURED, "live: head-ct-ich: measure it on images of your own"),
        (f"[{PACKAGE}]\n", MEASURED, "give an evaluation"),
        (f'[{PACKAGE}]\nreason = " "\n', MEASURED, "give an evaluation"),
        (f'[{PACKAGE}]\nevaluation = "measured.json"\n', MEASURED, "belong together"),
        (f'[{PACKAGE}]\nevaluation = "../keys.json"\nsha256 = "SHA256"\n', MEASURED, "evaluation"),
        (f'[{PACKAGE}]\nevaluation = "gone.json"\nsha256 = "SHA256"\n', MEASURED, "gone.json"),
        (
            f'[{PACKAGE}]\nevaluation = "measured.json"\nsha256 = "{"0" * 64}"\n',
            MEASURED,
            "another sha256",
        ),
        (
            f'[{PACKAGE}]\nevaluation = "measured.json"\nsha256 = "SHA256"\n',
            MEASURED.replace(PACKAGE, "chest-opacity"),
            "is no `vigie evaluate head-ct-ich",
        ),
        (
            f'[{PACKAGE}]\nevaluation = "measured.json"\nsha256 = "SHA256"\n',
            "no json",
            "is no `vigie evaluate head-ct-ich",
        ),
    ],
)
def test_any_other_is_refused_in_one_clear_line(
    site_folder: Path, content: str, measured: str, why: str
) -> None:
    say(site_folder, content, measured)
    with pytest.raises(ValueError, match=r"^[^\n]*$") as refused:
        check_live(site_folder, [PACKAGE])
    assert why in str(refused.value)


def test_a_package_in_shadow_needs_no_ground(site_folder: Path) -> None:
    check_live(site_folder, [])


@pytest.fixture
def site_folder(tmp_path: Path) -> Path:
    """A site's folder; what it says is the test's."""
    return tmp_path
