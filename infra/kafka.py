"""A real Apache Kafka (KRaft, one broker) on loopback, by Maven: for what a mock cannot prove."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.embedded import StartError, free_port
from infra.processes import die_with_parent

_HERE = Path(__file__).parent / "kafka"
_CLUSTER = base64.urlsafe_b64encode(b"vigie-loopback-k").decode().rstrip("=")
_START_S = 60.0
_STOP_S = 20.0
_FETCH_S = 900.0

#: One broker: what is replicated thrice by default has one copy here. Auto-creation is off, as on a
#: site's cluster.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""
_LOGGING = """\
status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
"""


def jars() -> Path:
    """The folder of Kafka's jars; Maven brings them the first time. Raises StartError when it
    cannot.
    """
    lib = _HERE / "lib"
    if lib.is_dir():
        return lib
    _program("java")
    # Whole or not at all: a fetch that was cut off must not pass for Kafka.
    part = _HERE / "run" / f"lib.{os.getpid()}"
    command = [
        _program("mvn"),
        "-q",
        "-B",
        "-f",
        str(_HERE / "pom.xml"),
        f"-Dlib={part}",
        "dependency:copy-dependencies",
    ]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=_FETCH_S
        )
        if done.returncode:
            said = [line for line in done.stdout.splitlines() if "ERROR" in line][:1]
            raise StartError(
                f"Maven could not bring Apache Kafka: {' '.join(said) or 'it did not say why'}"
            )
        try:
            part.rename(lib)
        except OSError:
            if not lib.is_dir():  # else: another fetch was first
                raise
    except subprocess.TimeoutExpired:
        raise StartError(f"Maven did not bring Apache Kafka within {_FETCH_S:.0f} s") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return lib


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise StartError(
            f"{name} is missing: Apache Kafka needs a Java runtime (17 or newer), and Maven "
            "fetches it"
        )
    return found


class Kafka:
    """One broker with its data in `folder`. It keeps its address and its data over `stop`, `kill`
    and `start`.

    Start it from a thread that outlives it: the kernel ends it with that thread.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self._folder = folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._properties = self._folder / "server.properties"
        self.log = self._folder / "kafka.log"
        port = port or free_port()
        self.address = f"127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._lib = jars()
        data = self._folder / "data"
        self._properties.write_text(
            _PROPERTIES.format(port=port, controller=free_port(), data=data)
        )
        (self._folder / "log4j2.properties").write_text(_LOGGING)
        if not (data / "meta.properties").is_file():
            self._format()

    @property
    def pid(self) -> int:
        """Of the broker. Raises StartError when it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise StartError("Kafka is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def _java(self, *words: str) -> list[str]:
        options = [
            "-Xmx512m",
            "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}",
        ]
        return [_program("java"), *options, "-cp", f"{self._lib}/*", *words]

    def _format(self) -> None:
        words = [
            "format",
            "--standalone",
            "--cluster-id",
            _CLUSTER,
            "--config",
            str(self._properties),
        ]
        done = subprocess.run(  # noqa: S603
            self._java("kafka.tools.StorageTool", *words),
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_S,
        )
        if done.returncode:
            raise StartError(
                f"Kafka could not prepare its folder: {(done.stderr or done.stdout).strip()[-300:]}"
            )

    def start(self) -> None:
        """Returns once the broker answers. Raises StartError when it does not."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                self._java("kafka.Kafka", str(self._properties)),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise StartError(f"Kafka did not start: see {self.log}")

    def _answers(self) -> bool:
        try:
            return bool(
                AdminClient({"bootstrap.servers": self.address, "log_level": 0})
                .list_topics(timeout=0.5)
                .brokers
            )
        except KafkaException:
            return False

    def stop(self) -> None:
        """An orderly end; what does not end in time is killed."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """``kill -9``: what the broker had not written is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stops and starts, at the same address."""
        self.stop()
        self.start()

    def __enter__(self) -> Kafka:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()


def serve(port: int, folder: Path | None, say: Callable[[str], None]) -> None:
    """Runs a broker until SIGINT or SIGTERM; `say` gets its address once it answers. Raises
    StartError when it ends by itself.
    """
    ended: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        ended.append(number)

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, end)
    with (
        tempfile.TemporaryDirectory(prefix="vigie-kafka-") as temporary,
        Kafka(folder or Path(temporary), port=port) as broker,
    ):
        say(broker.address)
        while not ended:
            if not broker.running:
                raise StartError(
                    f"Kafka ended: {broker.log.read_text(errors='replace').strip()[-300:]}"
                )
            time.sleep(0.2)
