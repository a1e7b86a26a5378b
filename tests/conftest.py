"""What every test may use: the corpora, real tools by name, a fixed clock and a key ring."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from streams.identity.seal import KeyRing
from streams.settings import StreamsSettings
from tests import fast

if TYPE_CHECKING:
    from infra.kafka import Kafka

# Real clients are meant, not their namesakes in a virtual environment (pynetdicom brings a storescu
# of its own).
_PATH = os.environ.get("PATH", "").split(os.pathsep)
os.environ["PATH"] = os.pathsep.join(
    part for part in _PATH if not (Path(part) / "activate").exists()
)

#: How to get what pip cannot bring.
INSTALL = {
    "g++": "apt-get install g++",
    "storescu": "apt-get install dcmtk",
    "echoscu": "apt-get install dcmtk",
    "chromium": "apt-get install chromium",
    "nginx": "apt-get install nginx-light",
    "promtool": "apt-get install prometheus",
    "prometheus": "apt-get install prometheus",
    "psql": "apt-get install postgresql-client",
    "java": "apt-get install openjdk-17-jre-headless",
    "javac": "apt-get install openjdk-17-jdk-headless",
    "mvn": "apt-get install maven",
    "Orthanc": "apt-get install orthanc",
    "orthanc-dicomweb": "apt-get install orthanc-dicomweb",
    "docker": "apt-get install docker.io docker-compose",
}


#: Orthanc's DICOMweb is a library that it loads, where Debian puts it.
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def corpora() -> Path:
    """Folder of the test material that the project does not commit."""
    return Path(os.environ.get("VIGIE_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))


#: What cannot be installed: the corpora are somebody else's, and the project commits none of them;
#: a GPU is bought.
_ELSEWHERE = {"corpora": "set VIGIE_CORPORA", "cuda": "an NVIDIA GPU"}


def _there(tool: str) -> bool:
    if tool == "corpora":
        return corpora().is_dir()
    if tool == "cuda":
        import torch

        return torch.cuda.is_available()
    if tool == "orthanc-dicomweb":
        return DICOMWEB_PLUGIN.exists()
    return shutil.which(tool) is not None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast",
        action="store_true",
        help="only what needs no database, broker, torch, browser or process of ours",
    )
    parser.addoption(
        "--passed",
        type=Path,
        metavar="FILE",
        help="leaves out the tests that passed by it, and adds those that pass; --fast begins it",
    )


def pytest_configure(config: pytest.Config) -> None:
    # A busy machine, or coverage, makes any example slow: time says nothing about a property.
    hypothesis.settings.register_profile("untimed", deadline=None)
    hypothesis.settings.load_profile("untimed")
    quick, file = config.getoption("fast"), config.getoption("passed")
    if quick:
        fast.begin(few_examples=file is None)
    if file and not hasattr(config, "workerinput"):  # a worker's reports go to its master
        config.pluginmanager.register(fast.Passed(file, fast=quick))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if (file := config.getoption("passed")) and not config.getoption("fast"):
        fast.leave_out(file, config, items)


def pytest_collection_finish() -> None:
    # What is imported stays: going through it again and again took a tenth of the time.
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.config.getoption("fast"):
        fast.skip_marked(item)
    wanted = [mark.args for mark in item.iter_markers("needs")]
    if "real_kafka" in getattr(item, "fixturenames", ()):
        wanted.append(("java", "mvn"))
    for tools in wanted:
        for tool in tools:
            if _there(tool):
                continue
            how = _ELSEWHERE.get(tool) or INSTALL.get(tool, "")
            if os.environ.get("VIGIE_REQUIRE") == "all" and tool not in _ELSEWHERE:
                pytest.fail(f"{tool} is missing ({how})")
            pytest.skip(f"NOT RUN: {tool} is missing ({how})")


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What processes remember between starts does not land in the checkout."""
    os.environ["VIGIE_STATE"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def ring() -> KeyRing:
    return KeyRing("k1", {"k1": bytes(range(32))}, b"p" * 32)


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 14, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="session")
def corpora_dir() -> Path:
    return corpora()


@pytest.fixture(scope="session")
def real_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """An Apache Kafka with our topics. A test that stops or kills it starts it again before it
    ends.
    """
    from infra.kafka import Kafka
    from streams.kafka.admin import make_topics

    with Kafka(tmp_path_factory.mktemp("kafka")) as broker:
        make_topics(StreamsSettings(kafka=broker.address))
        yield broker
