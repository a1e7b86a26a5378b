"""What a process that runs somebody else's network may not do: grow, reach the network, start
programs. A decoder may not begin threads or processes either, nor change anything on a disk.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # BPF: ld abs, jeq, jge, ret
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
_X32 = 0x40000000  # calls of another convention, under other numbers
#: By machine: its number for the kernel, that of the call seccomp, and the calls that are refused:
#: socket, execve, execveat, ptrace, process_vm_readv, process_vm_writev, io_uring_setup; and those
#: that begin a thread or process: clone, clone3, fork, vfork (linux/audit.h, asm/unistd.h).
_MACHINES = {
    "x86_64": (0xC000003E, 317, (41, 59, 322, 101, 310, 311, 425), (56, 435, 57, 58)),
    "aarch64": (0xC00000B7, 277, (198, 221, 281, 117, 270, 271, 425), (220, 435)),
}
#: Landlock: its calls, the same on each machine, and how the kernel is asked for its version.
_CREATE, _RESTRICT, _ASK_VERSION = 444, 446, 1
#: Each right to change files that it knows, and from which version on (linux/landlock.h): write,
#: remove (2), make (7), move between folders, cut.
_CHANGES = ((1, 0b1111111110010), (2, 1 << 13), (3, 1 << 14))


@dataclass(frozen=True)
class RunnerLimits:
    """Bounds of one process that runs a network from elsewhere, and of each batch."""

    memory_bytes: int = 8 * 1024**3  # what it may allocate; mapped libraries do not count
    wall_s: float = 60.0  # time of one batch
    start_s: float = 120.0  # until the network is loaded
    threads: int = 1


def confine(limits: RunnerLimits, file_bytes: int) -> bool:
    """Binds this process, and all its threads to come, for good. Files that it writes may have
    `file_bytes`. Whether the kernel keeps it from the network and from starting programs.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_bytes, limits.memory_bytes))
    return close_off()


def close_off(*, alone: bool = False) -> bool:
    """Keeps this process, and all its threads to come, from the network and from starting programs.

    A seccomp filter: it needs no privilege, and works inside containers.

    Args:
        alone: from beginning threads or processes and, where the kernel knows Landlock, from
            changing files too; what is open stays open.

    Whether the kernel does so.
    """
    known = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or known is None:
        return False
    machine, seccomp, refused, beginning = known
    program = _program(machine, (*refused, *beginning) if alone else refused)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions, and where they are
    about = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    if alone:
        _change_no_file(libc)
    return not libc.syscall(seccomp, _SET_MODE_FILTER, _ALL_THREADS, about)


def _change_no_file(libc: ctypes.CDLL) -> None:
    """Rights that a rule set handles and gives to nobody are gone."""
    version = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _ASK_VERSION)
    if version < 1:
        return
    handled = struct.pack("Q", sum(rights for since, rights in _CHANGES if since <= version))
    rules = libc.syscall(_CREATE, handled, ctypes.c_size_t(len(handled)), 0)
    if rules >= 0:
        libc.syscall(_RESTRICT, rules, 0)
        os.close(rules)


def _program(machine: int, refused: tuple[int, ...]) -> bytes:
    """Refuses those calls, and all of another machine or convention; allows the rest.

    A jump counts the instructions that it skips. struct seccomp_data: the call's number is at 0,
    the machine at 4.
    """
    count = len(refused)
    steps = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, count + 3, machine),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, count + 1, 0, _X32),
        *((_EQUAL, count - at, 0, call) for at, call in enumerate(refused)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
