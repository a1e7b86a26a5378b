"""Who vouches for a package: Vigie for those that it ships, by their digest; for any other the
site's own key, by a signature.

What is signed is model.toml, byte for byte: it names every file with its SHA-256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from pydantic import AfterValidator, TypeAdapter, ValidationError

from triage.packages.input_spec import Strict
from triage.packages.load import Package, PackageError, find_packages
from triage.packages.manifest import MANIFEST
from triage.settings import shipped_models

KEYS = "model_keys.toml"
SIGNATURE = "model.toml.sig"
SHIPPED = "SHIPPED.sha256"
VIGIE = "vigie"
#: Before what is signed: a signature under something else never counts for a package.
_CONTEXT = b"vigie model package 1\0"


def _public(text: str) -> str:
    """Raises ValueError where it is no public key."""
    Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    return text


class _TrustedKey(Strict):
    ed25519: Annotated[str, AfterValidator(_public)]


_SCHEMA = TypeAdapter(dict[str, _TrustedKey])


def read_keys(site: Path) -> dict[str, Ed25519PublicKey]:
    """The keys that the site trusts, by the name that it gave them; none without the file.

    Raises ValueError, in one line that names the file.
    """
    try:
        told = _SCHEMA.validate_python(tomllib.loads((site / KEYS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ValueError(f"{KEYS}: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{KEYS}: cannot be read: {error}") from None
    if VIGIE in told:
        raise ValueError(f"{KEYS}: {VIGIE}: this name is for what Vigie ships")
    return {
        name: Ed25519PublicKey.from_public_bytes(base64.b64decode(key.ed25519))
        for name, key in told.items()
    }


def vouched_by(package: Package, keys: Mapping[str, Ed25519PublicKey]) -> str:
    """The name of the key that signed it, or "vigie" for a shipped one.

    Raises PackageError where nobody does.
    """
    if hashlib.sha256(package.stated).hexdigest() in _shipped():
        return VIGIE
    try:
        signature = base64.b64decode((package.folder / SIGNATURE).read_bytes().strip())
    except (OSError, binascii.Error):
        raise PackageError(
            f"{package.name}: is not signed: vigie models sign, and the site's {KEYS}"
        ) from None
    for name, key in keys.items():
        try:
            key.verify(signature, _CONTEXT + package.stated)
        except InvalidSignature:
            continue
        return name
    raise PackageError(f"{package.name}: is signed by no key of the site's {KEYS}")


@cache
def _shipped() -> frozenset[str]:
    """SHA-256 of the manifests that come with Vigie."""
    lines = (shipped_models() / SHIPPED).read_text().splitlines()
    return frozenset(line.split()[0] for line in lines)


def shipped_list(models: Path) -> str:
    """The list of the packages in `models`, as `sha256sum --check` reads it."""
    digests = {
        folder.name: hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
        for folder in find_packages(models)
    }
    return "".join(f"{digest}  {name}/{MANIFEST}\n" for name, digest in digests.items())


def sign(package: Package, key: Ed25519PrivateKey) -> None:
    """Puts the signature beside the manifest. Raises OSError."""
    signature = base64.b64encode(key.sign(_CONTEXT + package.stated))
    (package.folder / SIGNATURE).write_bytes(signature + b"\n")


def make_key(file: Path) -> str:
    """Writes a new private key, for its owner alone to read, and returns the public one.

    Raises OSError, FileExistsError among them.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(pem)
    return public_text(key)


def public_text(key: Ed25519PrivateKey) -> str:
    """The public key as model_keys.toml has it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def read_private(file: Path) -> Ed25519PrivateKey:
    """A private key in PEM, as `make_key` or openssl writes it. Raises OSError or ValueError."""
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError(f"{file.name}: is no private key in PEM, or asks for a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{file.name}: is no Ed25519 key")
    return key
