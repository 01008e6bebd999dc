"""Gateways whose past is lived through once in a process: each is the same gateway at the same moment, and has its own.

The rig and its cloud are kept as a pickle, so a copy shares nothing with another that a story can change. Functions
made in a method go with what they hold on to; authorities, certificates and code are the same in all copies.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import threading
from types import CellType, CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from cryptography.x509 import Certificate

from agent.sandbox.account.authority import Authority
from support.simulated.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_Content = str | bytes | None  # of a link, a file, a directory
_SHARED = (Authority, Certificate, CodeType)  # which no story changes
_LOCK = type(threading.RLock())
_OF_ONE_PROCESS = ("store", "change")  # opened anew for each copy
_HELD_BY_NONE = "<"  # in the names of lambdas and of functions in functions, which no module holds


class _Writer(pickle.Pickler):
    def __init__(self, to: io.BytesIO, shared: list[object]) -> None:
        super().__init__(to, pickle.HIGHEST_PROTOCOL)
        self._shared = shared

    def persistent_id(self, obj: object) -> int | None:
        """Name what is shared by its place in the list; the same object may be there more than once."""
        if not isinstance(obj, _SHARED):
            return None
        self._shared.append(obj)
        return len(self._shared) - 1

    def reducer_override(self, obj: Any) -> Any:
        """Take functions apart that no module holds, and the variables in them."""
        if isinstance(obj, FunctionType) and _HELD_BY_NONE in obj.__qualname__:
            return _function, (obj.__code__, obj.__module__, obj.__defaults__, obj.__closure__)
        if isinstance(obj, CellType):
            return _cell, (), obj.cell_contents, None, None, _fill
        return (threading.RLock, ()) if isinstance(obj, _LOCK) else NotImplemented


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, shared: list[object]) -> None:
        super().__init__(io.BytesIO(data))
        self._shared = shared

    def persistent_load(self, pid: Any) -> object:
        """Return what is shared."""
        return self._shared[pid]


def _function(code: CodeType, module: str, defaults: Any, closure: Any) -> FunctionType:
    return FunctionType(code, vars(sys.modules[module]), code.co_name, defaults, closure)


def _cell() -> CellType:
    return CellType()


def _fill(cell: CellType, contents: object) -> None:
    cell.cell_contents = contents


def _laid_down(place: Path) -> list[tuple[Path, os.stat_result, _Content]]:
    found = [place, *sorted(place.rglob("*"))]
    return [(path.relative_to(place), path.lstat(), _content(path)) for path in found]


def _content(path: Path) -> _Content:
    if path.is_symlink():
        return str(path.readlink())
    return None if path.is_dir() else path.read_bytes()


def _lay(path: Path, status: os.stat_result, content: _Content) -> None:
    """Make what a past has left, in half the time that `shutil` takes to copy it."""
    if isinstance(content, str):
        path.symlink_to(content)
    elif content is None:
        path.mkdir(status.st_mode & 0o777)
    else:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, status.st_mode & 0o777)
        os.write(file, content)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.close(file)


class LivedPast:
    """What a gateway has been through by the moment at which stories begin."""

    def __init__(self, place: Path, live: Callable[[Rig], object]) -> None:
        """Have it lived through by a gateway fresh from the factory.

        Args:
            place: An empty directory, for as long as gateways begin with this past.
            live: Does to it what has happened to it.
        """
        rig = Rig(place / "state")
        live(rig)
        rig.close()
        for name in _OF_ONE_PROCESS:
            delattr(rig, name)
        data, self._shared = io.BytesIO(), list[object]()
        _Writer(data, self._shared).dump(rig)
        self._rig = data.getvalue()
        self._state = _laid_down(place / "state")

    def begin(self, state: Path) -> Rig:
        """Return a gateway with this past, which has just started on a state directory that is not there yet."""
        for name, status, content in self._state:
            _lay(state / name, status, content)
        rig: Rig = _Reader(self._rig, self._shared).load()
        rig.start(state)
        rig.engine.recover()
        return rig
