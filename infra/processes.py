"""What each child process of ours is given at birth: it ends with its parent in any case."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before any fork


def die_with_parent() -> None:
    """Runs in the child between fork and exec: the kernel kills it when its parent ends. Linux;
    elsewhere nothing.
    """
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
