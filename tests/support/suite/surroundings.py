"""What the tests and all that they start have around them, and would inherit from the suite's shell otherwise.

A shell's background job ignores Ctrl-C, `nohup` ignores a hang-up, a service manager sets variables, a login shell has
a umask and a language: none of it may decide whether a test passes.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534  # a user without rights
UMASK = 0o022
FILES = 1024  # that a process may have open, as a service of systemd's
_STDERR = 2
_HUGE = 1 << 21  # bytes of a huge page
_COLLAPSE = 25  # MADV_COLLAPSE of <linux/mman.h>, since Linux 6.1
_KEEP_ON_FORK = 19  # MADV_KEEPONFORK

# What a service manager, a proxy, a terminal or a developer may have set, for this suite or for something else.
_DROPPED = (
    *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"),
    *("JOURNAL_STREAM", "INVOCATION_ID", "SYSTEMD_LOG_LEVEL", "SYSTEMD_COLORS"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "PAGER", "LINES", "LANGUAGE"),
    *("PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONDEVMODE", "SSLKEYLOGFILE"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),  # each command would compile the whole agent again
    *("SOURCE_DATE_EPOCH", "IOT_CERT_TRACEBACK"),
    "PYTEST_ADDOPTS",  # this run has read it; one that a test starts has words of its own
)
_SET = {"LANG": "C.UTF-8", "TZ": "UTC", "COLUMNS": "80"}


def settle() -> None:
    """Give this process the surroundings that tests rely on; what it starts inherits them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(UMASK)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES if most == resource.RLIM_INFINITY else min(FILES, most), most))
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - numbers are wanted, no paths
        if descriptor > _STDERR:
            with suppress(OSError):  # the listing's own, which is closed by now
                os.set_inheritable(descriptor, False)  # noqa: FBT003 - its own form; what a shell left open is no command's
    for name in [name for name in os.environ if name in _DROPPED or name.startswith("LC_")]:
        del os.environ[name]
    sys.dont_write_bytecode = False
    os.environ |= _SET
    time.tzset()
    folders = os.environ.get("PATH", os.defpath).split(":")
    os.environ["PATH"] = ":".join(dict.fromkeys([*folders, "/usr/sbin", "/sbin"]))  # of root's tools, for `su` and all


def keep_the_command_line() -> None:
    """Have the parser of commands made once for a process that gives many: each would take 10 ms for its own."""
    from agent.cli.command_line import parser  # noqa: PLC0415 - not before `settle`

    vars(parser)["command_line"] = cache(parser.command_line)
    parser.command_line()


def in_ci() -> bool:
    """Whether this is continuous integration, where nothing is skipped for lack of a right or a tool."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def need_root() -> None:
    """Skip the test on a laptop, and fail it in continuous integration, unless root runs it.

    For what a test comes to in a helper; a test that begins as root is marked with ``pytest.mark.root``.
    """
    if os.geteuid() != 0:
        lacks("needs root")


@contextmanager
def another_user() -> Iterator[None]:
    """Be a user without rights for a while."""
    need_root()
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def lacks(what: str) -> NoReturn:
    """Skip the test on a laptop, and fail it in continuous integration, for something that this machine lacks."""
    if in_ci():
        pytest.fail(f"continuous integration must have it: {what}")
    pytest.skip(what)


def take_huge_pages(*, forked: bool = False) -> None:
    """Have what this process holds by now lie in huge pages where the kernel has such: a fork copies their list.

    A process that has read the whole suite holds 270 MB, and forks some thousand times: 18 ms of a processor each in
    ordinary pages, 6 in huge ones.

    Args:
        forked: Whether it shares them with the process that forked it. The first write to a huge page that is shared
            breaks it up, so each of its pages is written first, as it is.
    """
    for line in Path("/proc/self/maps").read_text().splitlines():
        part, rights, *_, inode, name = (*line.split(maxsplit=5), "")[:6]
        begin, end = _ends(part)
        if rights == "rw-p" and inode == "0" and name.strip() in {"", "[heap]"}:
            begin, end = -(-begin // _HUGE) * _HUGE, end // _HUGE * _HUGE
            for place in range(begin, end, resource.getpagesize()) if forked else ():
                page = ctypes.c_char.from_address(place)
                page.value = page.value
            for place in range(begin, end, _HUGE):  # one at a time, since one that cannot be ends the call
                _advise(place, _HUGE, _COLLAPSE)


def share_the_seed() -> None:
    """Have forks of this process begin with the random state that the SDK's library has, and not with none.

    The library has a page that is wiped in a fork, so that it sees that it is in one, and then gathers entropy from
    the processor's jitter: 30 ms of a processor for each command, worker and daemon that connects. What it draws
    differs from fork to fork all the same, since each thread's state begins with bytes of the kernel's too.
    """
    part = ""
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *flags = line.split()
        if not name.endswith(":"):
            part = name
        elif name == "VmFlags:" and "wf" in flags:  # to be wiped on a fork
            begin, end = _ends(part)
            _advise(begin, end - begin, _KEEP_ON_FORK)


def _ends(part: str) -> tuple[int, int]:
    begin, end = (int(address, 16) for address in part.split("-"))
    return begin, end


def _advise(place: int, size: int, advice: int) -> None:
    library = ctypes.CDLL(None)
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    library.madvise(place, size, advice)


def descriptors() -> set[tuple[str, str]]:
    """Return what this process has open now, by number and by what that is.

    A test asks for what is new since it began. What tests before it have dropped, or still wind up, goes meanwhile.
    What is left then is not looked through for garbage again: of all that a process keeps that takes 0.3 s each time.
    """
    gc.collect()
    gc.freeze()
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, no paths
        with suppress(FileNotFoundError):  # that which was open for looking
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))  # noqa: PTH115 - sockets and pipes have no path
    return found
