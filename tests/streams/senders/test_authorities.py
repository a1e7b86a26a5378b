"""Who gives numbers out at a site, and which values identify nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.errors import Misconfigured
from streams.senders.authorities import Authorities
from streams.senders.site import load_site

EXAMPLE = Path(__file__).parents[3] / "infra" / "site"


def test_the_example_site_has_the_values_that_hold_without_a_file() -> None:
    assert load_site(EXAMPLE).authorities == Authorities()


@pytest.mark.parametrize("stated", [("CHU",), ("1.2.3",), ("", " HOSP "), ("", "", "CHU", "X")])
def test_all_names_of_an_authority_are_one(stated: tuple[str, ...]) -> None:
    known = Authorities.model_validate({"authority": {"HOSP": {"names": ["CHU", "1.2.3"]}}})
    assert known.canonical(*stated) == "HOSP"


def test_an_authority_that_is_in_no_table_is_called_as_it_calls_itself() -> None:
    assert Authorities().canonical("", "9.9.9", "HOSP") == "9.9.9"
    assert Authorities().canonical("", "") == ""


@pytest.mark.parametrize(
    "value", ["", " ", "0", "000000", "999", "9999999", "unknown", "UNK", "n/a", "-"]
)
def test_dummies_identify_nothing(value: str) -> None:
    assert not Authorities().identifies(value)


@pytest.mark.parametrize("value", ["1", "9", "99", "9990", "A0", "00012", "UNKNOWN7"])
def test_real_numbers_identify(value: str) -> None:
    assert Authorities().identifies(value)


def test_a_site_s_own_dummies_are_patterns() -> None:
    known = Authorities(dummies=("TEST*",))
    assert not known.identifies("test-17")
    assert known.identifies("UNKNOWN")


@pytest.mark.parametrize(
    ("stated", "date"),
    [
        ("19610402", "19610402"),
        ("196104021030", "19610402"),
        ("19000101", None),
        ("19701301", None),
        ("19610231", None),
        ("1961", None),
        ("", None),
        ("1961-04-", None),
    ],
)
def test_birth_dates(stated: str, date: str | None) -> None:
    assert Authorities().birth_date(stated) == date


def test_one_name_is_of_one_authority() -> None:
    with pytest.raises(ValidationError, match=r"1\.2\.3: the name of two authorities"):
        Authorities.model_validate(
            {"authority": {"A": {"names": ["1.2.3"]}, "B": {"names": ["1.2.3"]}}}
        )


def test_a_wrong_file_is_told_with_its_name(tmp_path: Path) -> None:
    site = tmp_path / "site"
    shutil.copytree(EXAMPLE, site)
    (site / "authorities.toml").write_text('[authority.A]\nnames = []\n[authority.B]\noid = "1"\n')
    with pytest.raises(Misconfigured, match=r"authorities.toml: .*authority\.A\.names.*B"):
        load_site(site)
