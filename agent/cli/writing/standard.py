"""What a command is given to write to: standard output and standard error. Neither decides what the command does.

A reader may leave (`| head`), a disk may be full, a file system may tell of its trouble only when a file is closed, a
terminal may not have a character, or there may be nothing to write to at all. A change goes on whatever the listeners
do: what cannot be written is given up, once said on standard error, and remembered for the exit code of a command that
was only to show something.

It owns the two streams from `prepare` to `lost`, and refuses to raise for any of them.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

ENCODING = "IOT_CERT_TERMINAL_ENCODING"  # of the terminal, where this process was started again to read paths as UTF-8

_NOT_THERE = {errno.EPIPE, errno.EBADF}  # the reader left, or there never was one

_trouble: list[OSError] = []
_said = {"lines": 0, "waits": 0}


def prepare() -> None:
    """Have three standard files, and characters that a terminal lacks shown by their numbers."""
    _trouble.clear()
    for fd in (0, 1, 2):
        try:
            if not os.get_blocking(fd) and fd:
                os.set_blocking(fd, True)  # another program left it so, and half a line would be lost
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the free number, which no file of the agent's may have then
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=os.environ.get(ENCODING) or stream.encoding, errors="backslashreplace")


def speak_utf8() -> None:
    """Start this process again where the locale would read paths as something else than UTF-8.

    The configuration is UTF-8, and so are the names in it. Python decides once, at its start, how it makes bytes of
    them; the programs that are started from here inherit it.
    """
    if sys.getfilesystemencoding() == "utf-8" or ENCODING in os.environ:
        return
    terminal = sys.stdout.encoding if sys.stdout is not None else "ascii"
    environment = {**os.environb, b"LC_ALL": b"C.UTF-8", ENCODING.encode(): terminal.encode()}
    with suppress(OSError, IndexError):
        with open("/proc/self/cmdline", "rb") as file:  # noqa: PTH123 - the bytes that were typed, which no locale has read
            line = file.read().split(b"\0")[:-1]
        os.execve(line[0], line, environment)  # noqa: S606 - itself


def say(text: str) -> None:
    """Write one line to standard output."""
    _said.update(lines=_said["lines"] + 1, waits=0)
    _write(sys.stdout, text + "\n")


def wait() -> None:
    """Note that the last line has said that a longer silence follows."""
    _said["waits"] = 1


def lines() -> int:
    """Return how many lines were said."""
    return _said["lines"]


def waits() -> bool:
    """Return whether the last line has said that a longer silence follows."""
    return bool(_said["waits"])


def complain(text: str) -> None:
    """Write one line to standard error."""
    _write(sys.stderr, text + "\n")


def lost() -> bool:
    """Return whether standard output lost anything that had a reader, after what is left has been written."""
    _write(sys.stdout, "")
    _write(sys.stderr, "")
    if sys.stdout is not None and not _trouble:
        try:
            os.close(os.dup(sys.stdout.fileno()))  # some file systems say only now that they kept nothing
        except io.UnsupportedOperation:
            pass  # no file: a caller in this process has taken its place
        except OSError as error:
            _give_up(sys.stdout, error)
    return bool(_trouble)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        _give_up(stream, error)


def _give_up(stream: TextIO, error: OSError) -> None:
    """Have the rest, and what is in the buffer, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    if stream is sys.stdout and error.errno not in _NOT_THERE:
        _trouble.append(error)
        complain(f"iot-cert: What this command prints cannot be written: {error.strerror}. What it does goes on.")
