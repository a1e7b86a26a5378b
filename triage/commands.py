"""``vigie triage``: starts the process; torch is imported only when it runs."""

from __future__ import annotations

import typer

from streams.process import need, reading_site, run

app = typer.Typer(help="Screening: series in, findings out.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def triage() -> None:
    """Runs the screening process until SIGTERM. Settings come from the environment: VIGIE_…"""
    from triage.settings import TriageSettings

    settings = TriageSettings()
    need(settings, "kafka")
    from triage.worker.loading import load_models
    from triage.worker.process import main

    with reading_site(settings):
        loaded = load_models(settings)
    run(settings, lambda process: main(process, settings, *loaded))
