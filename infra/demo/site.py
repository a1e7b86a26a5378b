"""The demo's own site: the example, shipped models live; every sender on this machine may close."""

from __future__ import annotations

import json
import re
import shutil
from hashlib import sha256
from importlib.resources import as_file, files
from pathlib import Path
from typing import get_args

from streams.senders.site import Right
from triage.packages.load import find_packages
from triage.settings import shipped_models
from worklist.order.policy import parse


def make_site(folder: Path, *, historic: bool, token: str, speed: float = 1.0) -> Path:
    """Copies the example site into `folder`. `historic` off: old samples are studies like any
    other.

    Args:
        token: who shows it at the HTTP door speaks as the sender ``ehr``.
        speed: targets run out so many times as fast, so that a day of minutes has breaches; the
            horizons, which order the list, stay.
    """
    with as_file(files("infra") / "site") as example:
        shutil.copytree(example, folder)
    file = folder / "policy.toml"
    shipped = [package.name for package in find_packages(shipped_models())]
    text = re.sub(r"(?m)^live *=.*$", f"live = {json.dumps(shipped)}", file.read_text())
    if not historic:
        text = re.sub(r"(?m)^historic_after_days *=.*$", "historic_after_days = 0", text)
    text = re.sub(
        r"(?m)^target *= *(\d+)$", lambda found: f"target = {int(found[1]) / speed:g}", text
    )
    policy = parse(text)
    if not policy.live or (not historic and policy.historic_after_days):
        raise ValueError("the example site's policy.toml has lost a line that the demo sets")
    file.write_text(text)
    reason = 'reason = "a drawn day: nobody is treated by it"'
    (folder / "live.toml").write_text("".join(f"[{name}]\n{reason}\n" for name in shipped))
    senders = folder / "senders.toml"
    senders.write_text(
        senders.read_text()
        .replace("accept_unknown = false", "accept_unknown = true")
        .replace("addresses = [] ", 'addresses = ["127.0.0.0/8", "::1"] ')
        .replace('rights = ["order"] ', f"rights = {json.dumps(get_args(Right))} ")
        .replace("Europe/Paris", "UTC")
        + f'\n[senders.ehr]\ntokens_sha256 = ["{sha256(token.encode()).hexdigest()}"]\n'
    )
    return folder
