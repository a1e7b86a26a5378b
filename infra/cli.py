"""``vigie``: mounts the commands of the four houses, each imported only when it is called."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import Any

import typer
import typer.core
import typer.main

#: Command → (module, what --help says). The module's `app` holds it.
COMMANDS = {
    "gateway": ("streams.commands", "Run the doors: MLLP and DICOM."),
    "triage": ("triage.commands", "Run the screening."),
    "worklist": ("worklist.commands", "Run the list's agent."),
    "web": ("worklist.web.commands", "Serve page and API."),
    "token": ("worklist.web.commands", "Make a reader's token."),
    "migrate": ("worklist.commands", "Bring the database to this release's schema."),
    "topics": ("streams.commands", "The topics: show or create them."),
    "keys": ("streams.commands", "Make a key ring for a new site."),
    "parked": ("streams.commands", "What failed for good: list it, replay it."),
    "policy": ("worklist.commands", "The rules that order the list."),
    "audit": ("worklist.commands", "The record of every decision."),
    "models": ("triage.model_commands", "The model packages."),
    "evaluate": ("triage.model_commands", "Measure a model package."),
    "simulate": ("worklist.simulate.commands", "Minutes saved and minutes lost."),
    "check": ("infra.commands", "Check a site's folder."),
    "demo": ("infra.commands", "A department's day, in one command."),
    "bench": ("infra.commands", "Measure stages beside the bare libraries."),
    "kafka": ("infra.commands", "A real Apache Kafka on loopback, by Maven."),
}
_HOUSES = ("streams", "triage", "worklist", "infra")


class Mounted(typer.core.TyperGroup):
    """Imports a command's module when the command is called, so that ``--help`` imports nothing
    heavy.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        name, text = COMMANDS[cmd_name]
        if not ctx.args and any(word in ("--help", "-h") for word in sys.argv[1:2]):
            return typer.core.TyperCommand(cmd_name, help=text)
        module = importlib.import_module(name)
        found = typer.main.get_command(module.app)
        inner = found.commands.get(cmd_name) if isinstance(found, typer.core.TyperGroup) else found
        # A module with a single command, as a callback of its own.
        return inner if inner is not None else found


app = typer.Typer(
    cls=Mounted,
    name="vigie",
    help="Streaming triage for radiology.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def vigie(version: bool = typer.Option(False, "--version", help="Show the version.")) -> None:
    """Streaming triage for radiology: studies in, screened, and the reading list in the order
    patients need it.
    """


def strangers() -> list[str]:
    """Which of our four names answer for somebody else's module (the index has a distribution that
    owns ``triage``).
    """
    roof = Path(__file__).resolve().parent.parent
    found = []
    for name in _HOUSES:
        spec = importlib.util.find_spec(name)
        where = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if where != roof:
            found.append(name)
    return found


def main() -> None:
    """The program. Exit codes: 0 done, 1 failed (one line on stderr), 2 wrong usage."""
    if names := strangers():
        _fail(
            f"another distribution answers to {', '.join(names)}: install vigie into a virtual environment of its own"
        )
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(importlib.metadata.version("vigie") + "\n")
        return
    from pydantic import ValidationError

    from streams.errors import VigieError

    try:
        app()
    except ValidationError as error:
        first = error.errors()[0]
        _fail(f"VIGIE_{'_'.join(str(part) for part in first['loc']).upper()}: {first['msg']}", 2)
    except VigieError as error:
        _fail(str(error))
    except (OSError, ImportError, LookupError) as error:
        _fail(f"{type(error).__name__}: {error}")


def _fail(text: str, code: int = 1) -> None:
    sys.stderr.write(text.replace("\n", " ") + "\n")
    raise SystemExit(code)


if __name__ == "__main__":
    main()
