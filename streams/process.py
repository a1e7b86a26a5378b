"""The one shape of every process: signals, health page, ready file, exit code; how errors are said.

A command's own part is ``async def main(process)``: it opens its parts onto ``process.stack``, says
when it is ready, and waits until it is to end. What was opened is closed in reverse.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import Any, NoReturn

import structlog
from pydantic import SecretStr, ValidationError

from streams.errors import Misconfigured, Reason, VigieError
from streams.health import serve_health, write_ready
from streams.logs import log_crashes, tell
from streams.settings import StreamsSettings, describe

log = structlog.get_logger()
FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130  # exit codes; 0 is done

#: What to do about an error that only names its reason.
_ADVICE = {
    Reason.BROKER_DOWN: "no broker answers at VIGIE_KAFKA: start it, or name the right host:port",
    Reason.DATABASE_DOWN: (
        "the database of VIGIE_DATABASE does not answer, does not let us in, or lacks this "
        "release's schema (vigie migrate brings it)"
    ),
    Reason.BAD_SEAL: "VIGIE_KEYS names a key ring that does not open this: name the right one",
    Reason.STORE_FULL: "the disk of VIGIE_STORE is full: free space, or lower VIGIE_STORE_MIN_FREE",
}


class Process:
    """One process of Vigie while it runs. `stack` closes what was opened, in reverse order."""

    def __init__(self, settings: StreamsSettings, stack: AsyncExitStack) -> None:
        self.settings = settings
        self.stack = stack
        self.code = 0
        self._ended = asyncio.Event()

    def end(self) -> None:
        """As SIGTERM and SIGINT do: what is under way is finished, then the process ends with 0."""
        self._ended.set()

    def fail(self) -> None:
        """Going on would lose something: it ends with 1, and a supervisor starts it anew."""
        self.code = FAILED
        self._ended.set()

    def keep(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        """Runs `work` beside the rest, to the end; should it end before, the process has failed."""
        task = asyncio.create_task(work)

        async def close() -> None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        def stopped(_task: asyncio.Task[object]) -> None:
            if not self._ended.is_set():
                self.fail()

        task.add_done_callback(stopped)
        self.stack.push_async_callback(close)
        return task

    def serve_health(self, checks: Mapping[str, Callable[[], bool]]) -> int:
        """Serves /metrics, /livez and /readyz, which asks `checks`; the port."""
        health = serve_health(self.settings, checks)
        self.stack.callback(health.stop)
        return health.port

    def ready(self, **facts: Any) -> None:
        """Says that it serves: a line, and the ready file with `facts` (its ports) and the pid."""
        log.info("serving", name=self.settings.name, **facts)
        write_ready(self.settings, {"pid": os.getpid(), **facts})

    async def until_ended(self) -> None:
        """Until a signal, `end` or `fail`."""
        await self._ended.wait()
        log.info("closing", name=self.settings.name, failed=self.code != 0)


Main = Callable[[Process], Awaitable[None]]


async def run_process(settings: StreamsSettings, main: Main) -> int:
    """Runs `main` on the running loop until SIGTERM, SIGINT or a failure; the exit code."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        process = Process(settings, stack)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, process.end)
        await main(process)
    return process.code


def run(
    settings: StreamsSettings,
    main: Main,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> NoReturn:
    """The last act of a command that is a process: prints its settings, secrets starred, runs
    `main` until SIGTERM, SIGINT or a failure, and exits with its code.
    """
    log_crashes()
    log.info("settings", **describe(settings))
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        code = runner.run(run_process(settings, main))
    raise SystemExit(code)


def fail(text: str, code: int = FAILED) -> NoReturn:
    """Ends the program with one line on stderr: what is wrong and what to do."""
    tell(text)
    raise SystemExit(code)


def need(settings: StreamsSettings, *names: str) -> None:
    """Ends the program when a setting of `names` is empty: its default is, on purpose."""
    for name in names:
        value = getattr(settings, name)
        if not (value.get_secret_value() if isinstance(value, SecretStr) else value):
            what = type(settings).model_fields[name].description
            fail(f"VIGIE_{name.upper()} is not set: {what}", WRONG_USAGE)


@contextmanager
def reading_site(settings: StreamsSettings) -> Iterator[None]:
    """While files of the site are read: what is wrong with one becomes Misconfigured."""
    if not settings.site.is_dir():
        raise Misconfigured(f"VIGIE_SITE: {settings.site}: no such folder: name the site's folder")
    try:
        yield
    except Misconfigured:
        raise
    except ValueError as error:
        raise Misconfigured(str(error)) from None
    except OSError as error:
        raise Misconfigured(
            f"{error.filename}: cannot be read ({error.strerror}): vigie check reads the whole site"
        ) from None


def explain(error: BaseException) -> tuple[str, int]:
    """One line for what ended a command, and the exit code."""
    match error:
        case ValidationError():
            wrong = (
                f"VIGIE_{'_'.join(map(str, piece['loc'])).upper()}: {piece['msg']}"
                for piece in error.errors(include_input=False, include_url=False)
            )
            return "; ".join(wrong), WRONG_USAGE
        case Misconfigured():
            return str(error), FAILED
        case VigieError():
            return _ADVICE.get(error.reason, str(error)), FAILED
        case OSError(filename=str() as name, strerror=str() as why):
            return f"{name}: {why}: look at the VIGIE_… setting that names it", FAILED
        case _:
            return f"{type(error).__name__}: {error}", FAILED
