"""Seals: identity travels encrypted and authenticated, under keys that rotate (promise 8)."""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import ValidationError

from streams.errors import Misconfigured, Park, Reason
from streams.sealed import Identity

_NONCE = 12  # bytes, NIST SP 800-38D §8.2.2: random 96-bit nonces


@dataclass(frozen=True)
class KeyRing:
    """AES-256-GCM keys by name; `current` seals, all open. `pseudonym` never rotates: it makes
    topic keys.
    """

    current: str
    keys: dict[str, bytes]
    pseudonym: bytes

    def __repr__(self) -> str:
        return f"KeyRing(current={self.current!r}, {len(self.keys)} keys)"

    @cached_property
    def _ciphers(self) -> dict[str, AESGCM]:
        """Made once: a message seals twice, and making one costs as much as sealing."""
        return {name: AESGCM(key) for name, key in self.keys.items()}

    def seal(self, plain: bytes) -> str:
        """`plain` under the current key, as ``name.base64``."""
        nonce = os.urandom(_NONCE)
        box = self._ciphers[self.current].encrypt(nonce, plain, self.current.encode())
        return f"{self.current}.{binascii.b2a_base64(nonce + box, newline=False).decode('ascii')}"

    def open(self, sealed: str) -> bytes:
        """What `seal` was given.

        Raises:
            Park: `bad_seal` when the key is not on the ring or the bytes were changed.
        """
        name, _, box = sealed.partition(".")
        try:
            raw = base64.b64decode(box, validate=True)
            return self._ciphers[name].decrypt(raw[:_NONCE], raw[_NONCE:], name.encode())
        except (KeyError, ValueError, InvalidTag, binascii.Error):
            raise Park(Reason.BAD_SEAL) from None

    def seal_identity(self, identity: Identity) -> str:
        """`identity` under seal."""
        return self.seal(identity.model_dump_json().encode())

    def open_identity(self, sealed: str) -> Identity:
        """The identity in `sealed`; raises as `open`."""
        try:
            return Identity.model_validate_json(self.open(sealed))
        except ValidationError:
            raise Park(Reason.BAD_SEAL) from None


def new_ring() -> KeyRing:
    """A fresh ring of one key, for a demo or a new site."""
    return KeyRing("k1", {"k1": os.urandom(32)}, os.urandom(32))


def write_ring(ring: KeyRing, path: Path) -> None:
    """Writes `ring` to `path`, readable by its owner alone."""
    body = {
        "current": ring.current,
        "keys": {name: base64.b64encode(key).decode() for name, key in ring.keys.items()},
        "pseudonym": base64.b64encode(ring.pseudonym).decode(),
    }
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(body, file)


def read_ring(path: Path, setting: str = "VIGIE_KEYS") -> KeyRing:
    """The ring in `path`, which `setting` names.

    Raises:
        Misconfigured: there is none, it cannot be read, everybody can read it, or it holds no ring.
            The text never quotes the file.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except FileNotFoundError:
        raise Misconfigured(
            f"{setting}: {path} is not there: copy the site's key ring to it, or make a first one "
            f"with vigie keys {path}"
        ) from None
    except OSError as error:
        raise Misconfigured(
            f"{setting}: {path} cannot be read ({error.strerror}): it belongs to the user that "
            "runs this process"
        ) from None
    if mode & stat.S_IRWXO:
        raise Misconfigured(f"{setting}: everybody can read {path}: chmod 600 {path}")
    return _parse(text, path.name)


def _parse(text: str, name: str) -> KeyRing:
    try:
        body = json.loads(text)
        keys = {name: base64.b64decode(key, validate=True) for name, key in body["keys"].items()}
        ring = KeyRing(body["current"], keys, base64.b64decode(body["pseudonym"], validate=True))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Misconfigured(f"{name} is no key ring: {type(error).__name__}") from None
    if ring.current not in keys or any(len(key) != 32 for key in (*keys.values(), ring.pseudonym)):
        raise Misconfigured(f"{name}: each key has 32 bytes, and `current` names one of them")
    return ring
