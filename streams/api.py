"""The list's API, asked by commands: what came of what was sent, and why it was not taken."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from streams.errors import Misconfigured
from streams.settings import StreamsSettings

_WAIT_S = 5.0
_SHOWN = ("study", "accession", "study_uid", "state", "lane", "modality", "description", "why")


def read_ready(file: Path) -> dict[str, Any]:
    """What a demo's ready file holds. Raises Misconfigured where it is none."""
    try:
        known: dict[str, Any] = json.loads(file.read_text())
        known["http"], known["token"]
    except OSError as error:
        why = error.strerror
    except (ValueError, TypeError, KeyError):
        why = "no ready file"
    else:
        return known
    raise Misconfigured(
        f"--ready: {file}: {why}: name the file that a demo which runs wrote with --ready"
    )


class Api:
    """The API of one web process, as one caller. Each question raises OSError where it does not
    answer, or says no: with the sentence that it says.
    """

    def __init__(self, base: str, token: str) -> None:
        self._base, self._token = base, token

    @classmethod
    def found(cls, settings: StreamsSettings, ready: Path | None) -> Api | None:
        """That of the ready file, else of the settings; None where neither names one. Raises
        Misconfigured where the file is none.
        """
        if ready:
            known = read_ready(ready)
            return cls(known["http"], known["token"])
        token = settings.api_token.get_secret_value()
        return cls(settings.api_url, token) if settings.api_url and token else None

    def rows_of(self, *, accession: str = "", study_uid: str = "") -> list[dict[str, Any]]:
        """The rows of a number, once there are any; none after five seconds."""
        named = f"accession={quote(accession)}" if accession else f"study_uid={quote(study_uid)}"
        deadline = time.monotonic() + _WAIT_S
        while True:
            found = self.ask("GET", f"/api/v1/worklist?state=all&{named}")["items"]
            if found or time.monotonic() > deadline:
                return [{name: row.get(name) for name in _SHOWN} for row in found]
            time.sleep(0.2)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One question, and what was answered."""
        place = urlsplit(self._base)
        secure = place.scheme == "https"
        make = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = make(place.netloc, timeout=_WAIT_S)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            told = answer.read()
            if answer.status != http.client.OK:
                raise OSError(f"the list answered {answer.status} {_says(told)}".rstrip())
            found: dict[str, Any] = json.loads(told)
            return found
        except http.client.HTTPException as error:
            raise OSError(f"no answer of a list ({type(error).__name__})") from None
        finally:
            connection.close()


def _says(told: bytes) -> str:
    try:
        return str(json.loads(told)["detail"])
    except (ValueError, KeyError, TypeError):
        return ""
