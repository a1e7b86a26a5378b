"""A confined process reaches no network, starts no program and does not grow."""

from __future__ import annotations

import subprocess
import sys

import pytest

TRY = """
import socket, subprocess, sys
from triage.sandbox import RunnerLimits, confine
assert confine(RunnerLimits(memory_bytes=512 * 1024**2), 4096)
def grow(): bytearray(10**9)
def call(): socket.create_connection(("127.0.0.1", 9))
def start(): subprocess.run(["/bin/true"])
def write(): open(sys.argv[2], "wb").write(bytes(10**6))
try:
    {"grow": grow, "call": call, "start": start, "write": write}[sys.argv[1]]()
except (MemoryError, OSError) as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("act", "error"),
    [
        ("grow", "MemoryError"),
        ("call", "PermissionError"),
        ("start", "PermissionError"),
        ("write", "OSError"),
    ],
)
def test_what_it_may_not_do_fails(act: str, error: str, tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRY, act, f"{tmp_path}/file"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == error, done.stderr


ALONE = """
import os, sys, threading
from triage.sandbox import close_off
open(sys.argv[2], "w").write("there")
assert close_off(alone=True)
def fork(): os.fork() or os._exit(0)
def thread(): threading.Thread(target=print).start()
def write(): open(sys.argv[2] + "2", "wb")
def overwrite(): open(sys.argv[2], "r+b")
def remove(): os.unlink(sys.argv[2])
def make(): os.mkdir(sys.argv[2] + "3")
try:
    {one.__name__: one for one in (fork, thread, write, overwrite, remove, make)}[sys.argv[1]]()
except (RuntimeError, OSError) as error:
    print(type(error).__name__)
print(open(sys.argv[2]).read())
"""


@pytest.mark.parametrize(
    ("act", "error"),
    [
        ("fork", "PermissionError"),
        ("thread", "RuntimeError"),
        ("write", "PermissionError"),
        ("overwrite", "PermissionError"),
        ("remove", "PermissionError"),
        ("make", "PermissionError"),
    ],
)
def test_what_a_decoder_may_not_do_besides_fails_and_it_reads_on(
    act: str, error: str, tmp_path: object
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, act, f"{tmp_path}/file"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [error, "there"], done.stderr


def test_threads_that_were_there_before_are_confined_too() -> None:
    script = (
        "import socket, threading\n"
        "from triage.sandbox import RunnerLimits, confine\n"
        "go = threading.Event()\n"
        "def call():\n"
        "    go.wait()\n"
        "    try: socket.socket()\n"
        "    except PermissionError: print('refused')\n"
        "thread = threading.Thread(target=call); thread.start()\n"
        "confine(RunnerLimits(), 4096); go.set(); thread.join()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.stdout == b"refused\n", done.stderr
