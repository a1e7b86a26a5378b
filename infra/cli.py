"""``vigie``: mounts the commands of the four houses, each imported only when it is called."""

from __future__ import annotations

import faulthandler
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core
import typer.main

#: Command → (module, what --help says). The module's `app` holds it.
COMMANDS = {
    "gateway": ("streams.commands", "Run the doors: MLLP, DICOM, HTTP."),
    "triage": ("triage.commands", "Run the screening."),
    "worklist": ("worklist.commands", "Run the list's agent."),
    "web": ("worklist.web.commands", "Serve page and API."),
    "token": ("worklist.web.commands", "Make a reader's token."),
    "readers": ("worklist.web.commands", "Who may enter: add, disable, list."),
    "migrate": ("worklist.commands", "Bring the database to this release's schema."),
    "topics": ("streams.commands", "The topics: show or create them."),
    "keys": ("streams.commands", "Make a key ring for a new site."),
    "parked": ("streams.commands", "What failed for good: list it, replay it."),
    "senders": ("worklist.commands", "What each sender does, and why it was refused."),
    "send": ("streams.commands", "Send HL7 and DICOM files, see what comes of them."),
    "policy": ("worklist.commands", "The rules that order the list."),
    "workbench": ("worklist.commands", "What does not fit together."),
    "audit": ("worklist.commands", "Every decision and act: the audit."),
    "rebuild": ("worklist.commands", "What is known of a rebuild of the topics."),
    "models": ("triage.model_commands", "The model packages."),
    "evaluate": ("triage.model_commands", "Measure a model package."),
    "simulate": ("worklist.simulate.commands", "Minutes saved and minutes lost."),
    "check": ("infra.commands", "Check a site's folder."),
    "demo": ("infra.commands", "A department's day, in one command."),
    "bench": ("infra.commands", "Measure stages beside the bare libraries."),
    "kafka": ("infra.commands", "A real Apache Kafka on loopback, by Maven."),
}
#: Those whose settings are all given by the environment: a name that is none is said at start.
_PROCESSES = frozenset({"gateway", "triage", "worklist", "web", "demo"})
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
    pretty_exceptions_enable=False,  # its tracebacks show values of variables
)


class Lines(StrEnum):
    """How lines on stderr look."""

    TEXT = "text"
    JSON = "json"


@app.callback()
def vigie(
    context: typer.Context,
    log: Annotated[
        Lines | None, typer.Option(help="lines on stderr; default: VIGIE_LOG, else text")
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Streaming triage for radiology: studies in, screened, and the reading list in the order
    patients need it.
    """
    from streams.logs import set_up_logs

    if log is not None:
        os.environ["VIGIE_LOG"] = log.value  # for the settings of this process and its children
    set_up_logs()
    if context.invoked_subcommand in _PROCESSES:
        _name_strange_settings()


def _name_strange_settings() -> None:
    from infra.settings import unknown
    from streams.logs import tell

    for name, near in unknown(os.environ).items():
        tell(f"{name}: no such setting{f'; {near} is one' if near else ': vigie ignores it'}")


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
    """The program. Exit codes: 0 done, 1 failed (one line on stderr), 2 wrong usage, 130 ended by
    Ctrl-C.
    """
    if names := strangers():
        sys.stderr.write(
            f"another distribution answers to {', '.join(names)}: "
            "install vigie into a virtual environment of its own\n"
        )
        raise SystemExit(1)
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(importlib.metadata.version("vigie") + "\n")
        return
    from pydantic import ValidationError

    from streams.errors import Misconfigured, VigieError
    from streams.process import INTERRUPTED, explain, fail

    faulthandler.enable(2)  # a library that crashes says where we were
    try:
        app()
    except KeyboardInterrupt:  # while a command's module is imported; typer sees the rest
        raise SystemExit(INTERRUPTED) from None
    except (ValidationError, Misconfigured, VigieError, OSError, ImportError, LookupError) as error:
        fail(*explain(error))


if __name__ == "__main__":
    main()
