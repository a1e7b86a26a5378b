"""A package is served if Vigie shipped it or a key of the site signed it, as it is, to the bit."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.triage.packages import outside
from triage.packages.load import Package, PackageError, load_package
from triage.packages.manifest import MANIFEST
from triage.packages.trust import (
    KEYS,
    SHIPPED,
    SIGNATURE,
    make_key,
    read_keys,
    read_private,
    shipped_list,
    sign,
    vouched_by,
)
from triage.settings import TriageSettings, shipped_models
from triage.worker.loading import load_models

NAME = "chest-opacity"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site that trusts the key in lab.pem."""
    site = tmp_path / "site"
    site.mkdir()
    public = make_key(tmp_path / "lab.pem")
    (site / KEYS).write_text(f'[lab]\ned25519 = "{public}"\n')
    return site


@pytest.fixture
def signed(tmp_path: Path, site: Path) -> Package:
    """A package of somebody's, signed by that key."""
    package = outside.package(tmp_path, outside.onnx())
    sign(package, read_private(site.parent / "lab.pem"))
    return package


def test_the_list_of_shipped_packages_is_fresh() -> None:
    """Renew it: cd triage/models && sha256sum */model.toml > SHIPPED.sha256"""
    assert (shipped_models() / SHIPPED).read_text() == shipped_list(shipped_models())


def test_a_shipped_package_needs_no_key_wherever_it_lies(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shipped_models() / NAME, tmp_path / NAME))
    assert vouched_by(load_package(copy), {}) == "vigie"


def test_a_shipped_package_whose_manifest_was_touched_is_nobodys(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(shipped_models() / NAME, tmp_path / NAME))
    text = (copy / MANIFEST).read_text()
    (copy / MANIFEST).write_text(text.replace("children", "adults"))
    with pytest.raises(PackageError, match="is not signed"):
        vouched_by(load_package(copy), {})


def test_the_site_s_key_vouches_by_its_name(signed: Package, site: Path) -> None:
    assert vouched_by(signed, read_keys(site)) == "lab"


def test_a_manifest_changed_after_it_was_signed_is_refused(signed: Package, site: Path) -> None:
    text = (signed.folder / MANIFEST).read_text()
    (signed.folder / MANIFEST).write_text(text.replace("threshold = 0.5", "threshold = 0.01"))
    with pytest.raises(PackageError, match="signed by no key"):
        vouched_by(load_package(signed.folder), read_keys(site))


def test_a_key_that_the_site_took_out_vouches_no_more(signed: Package, site: Path) -> None:
    other = make_key(site / "other.pem")
    (site / KEYS).write_text(f'[other]\ned25519 = "{other}"\n')
    with pytest.raises(PackageError, match="signed by no key"):
        vouched_by(signed, read_keys(site))


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"AAAA", b"A" * 88])
def test_a_broken_signature_is_refused(signed: Package, site: Path, content: bytes) -> None:
    (signed.folder / SIGNATURE).write_bytes(content)
    with pytest.raises(PackageError, match=r"theirs: is (not )?signed"):
        vouched_by(signed, read_keys(site))


@pytest.mark.parametrize(
    "text",
    ["[lab]\n", '[lab]\ned25519 = "AAAA"\n', '[lab]\ned25519 = "no base64"\n', "no toml", "x = 1"],
)
def test_a_wrong_file_of_keys_is_said_in_one_line(site: Path, text: str) -> None:
    (site / KEYS).write_text(text)
    with pytest.raises(ValueError, match=r"^model_keys\.toml: [^\n]*$"):
        read_keys(site)


def test_no_key_of_a_site_is_called_vigie(site: Path) -> None:
    (site / KEYS).write_text((site / KEYS).read_text().replace("[lab]", "[vigie]"))
    with pytest.raises(ValueError, match="vigie: this name"):
        read_keys(site)


def test_triage_serves_the_signed_one_and_leaves_out_the_unsigned(
    signed: Package, site: Path
) -> None:
    models = signed.folder.parent
    served, references = load_models(TriageSettings(models=models, site=site))
    assert [model.name for model in served] == ["theirs"]
    assert [reference.package for reference in references] == ["theirs"]
    (signed.folder / SIGNATURE).unlink()
    assert load_models(TriageSettings(models=models, site=site)) == ([], [])


def test_a_private_key_is_its_owner_s_alone_and_never_overwritten(tmp_path: Path) -> None:
    make_key(tmp_path / "key.pem")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        make_key(tmp_path / "key.pem")


def test_a_private_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    locked = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"word"),
    )
    for content in (b"no key", locked):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"^own\.pem: is no private key in PEM"):
            read_private(file)
