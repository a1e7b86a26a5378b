"""The demo's own site: the example, with the shipped models live; every sender may close."""

from __future__ import annotations

import json
import re
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from triage.packages.load import find_packages
from triage.settings import shipped_models
from worklist.order.policy import parse


def make_site(folder: Path, *, historic: bool) -> Path:
    """Copies the example site into `folder`. `historic` off: old samples are studies like any
    other.
    """
    with as_file(files("infra") / "site") as example:
        shutil.copytree(example, folder)
    file = folder / "policy.toml"
    shipped = [package.name for package in find_packages(shipped_models())]
    text = re.sub(r"(?m)^live *=.*$", f"live = {json.dumps(shipped)}", file.read_text())
    if not historic:
        text = re.sub(r"(?m)^historic_after_days *=.*$", "historic_after_days = 0", text)
    policy = parse(text)
    if not policy.live or (not historic and policy.historic_after_days):
        raise ValueError("the example site's policy.toml has lost a line that the demo sets")
    file.write_text(text)
    senders = folder / "senders.toml"
    senders.write_text(
        senders.read_text()
        .replace("closes = false", "closes = true")
        .replace("Europe/Paris", "UTC")
    )
    return folder
