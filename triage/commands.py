"""``vigie triage``: starts the process. ``infra/cli.py`` mounts it; torch is imported only when it
runs.
"""

from __future__ import annotations

import asyncio
import sys

import typer
from pydantic import ValidationError

app = typer.Typer(help="Screening: series in, findings out.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def triage() -> None:
    """Runs the screening process until SIGTERM. Settings come from the environment: VIGIE_…"""
    from triage.settings import TriageSettings
    from triage.worker.loading import load_models
    from triage.worker.process import run

    try:
        settings = TriageSettings()
    except ValidationError as error:
        first = error.errors()[0]
        sys.stderr.write(f"VIGIE_{str(first['loc'][0]).upper()}: {first['msg']}\n")
        raise typer.Exit(2) from None
    if not settings.kafka:
        sys.stderr.write("no broker is set: give its address in VIGIE_KAFKA (host:port)\n")
        raise typer.Exit(2)
    if not settings.site.is_dir():
        sys.stderr.write(f"{settings.site}: no such folder: VIGIE_SITE names the site's folder\n")
        raise typer.Exit(1)
    try:
        loaded = load_models(settings)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    raise typer.Exit(asyncio.run(run(settings, *loaded)))
