"""Clients of others that are written in Java: Maven fetches their libraries."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_FETCH_S = 600


def run(*words: str | Path) -> str:
    """What the program says; it must end well."""
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=_FETCH_S, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def class_path(source: Path, folder: Path) -> str:
    """The class path of what `source`'s pom names and of its `Send.java`, made in `folder`."""
    shutil.copy(source / "pom.xml", folder)
    fetch = ("-q", "-B", "-f", folder / "pom.xml", f"-DoutputDirectory={folder / 'lib'}")
    run("mvn", *fetch, "dependency:copy-dependencies")
    run("javac", "-encoding", "UTF-8", "-cp", f"{folder}/lib/*", "-d", folder, source / "Send.java")
    return f"{folder}/lib/*:{folder}"
