"""Modules that libraries read for what is hardly ever asked of them: they are read when it is.

* `pathlib` wants one function of `urllib.parse`, which reads `ipaddress`, for the address of a file.
* `dataclasses` wants `inspect`, which reads `ast` and `dis`, for a class without a docstring; the SDK wants it to see
  that a callback takes one argument.
* `traceback` wants `linecache`, which reads `tokenize`, for the lines of a traceback.

An idle daemon would carry all that for years, and a command would read it before its work. A stand-in takes the
module's place until something else of it is asked for; then the module itself does.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from typing import Any

_lock = allocate_lock()


class _StandIn(type(sys)):  # type: ignore[misc]  # the type of modules, without reading `types`
    """A module while it is not read yet, with the functions that are imported long before they are called."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # it is no package
            raise AttributeError(name)
        return getattr(_read(self.__name__), name)


class _UrllibParse(_StandIn):
    """The stand-in for `urllib.parse`."""

    def quote_from_bytes(self, *given: Any, **named: Any) -> Any:
        """Do as the module's own."""
        return _read(self.__name__).quote_from_bytes(*given, **named)


class _Inspect(_StandIn):
    """The stand-in for `inspect`."""

    def signature(self, of: Any, **named: Any) -> Any:
        """Do as the module's own; of a plain function the module need not be read to see what fits it."""
        function = getattr(of, "__func__", of)
        if named or type(function) is not type(_read) or function.__dict__:  # such as what a decorator notes
            return _read(self.__name__).signature(of, **named)
        return _PlainSignature(self.__name__, of, function)


class _PlainSignature:
    """The signature of a function, or of a method, that nothing was noted at."""

    def __init__(self, module: str, of: Any, function: Any) -> None:
        self._module, self._of = module, of
        most = function.__code__.co_argcount - (of is not function)
        self._fitting = range(most - len(function.__defaults__ or ()), most + 1)
        self._plain = not function.__code__.co_kwonlyargcount

    def bind(self, *given: Any, **named: Any) -> Any:
        """Do as the module's own; where the arguments fit, the SDK asks for no more than that."""
        fits = self._plain and not named and len(given) in self._fitting
        return _Fitting(self._read, given) if fits else self._read().bind(*given, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._read(), name)

    def __str__(self) -> str:
        return str(self._read())

    def _read(self) -> Any:
        return _read(self._module).signature(self._of)


class _Fitting:
    """What the module says of arguments that fit, for a caller that looks at it."""

    def __init__(self, signature: Any, given: tuple[Any, ...]) -> None:
        self._signature, self._given = signature, given

    def __getattr__(self, name: str) -> Any:
        return getattr(self._signature().bind(*self._given), name)


_STAND_INS = {"inspect": _Inspect, "linecache": _StandIn, "urllib.parse": _UrllibParse}


def put_off() -> None:
    """Have stand-ins for the modules that are not read yet."""
    for name, kind in _STAND_INS.items():
        if name not in sys.modules:
            stand_in = kind(name)
            package, _, inner = name.rpartition(".")
            if package:
                setattr(__import__(package), inner, stand_in)
            sys.modules[name] = stand_in


def _read(name: str) -> Any:
    """Return a module itself, which is in its place from then on.

    Raises:
        ImportError: It cannot be read.
    """
    with _lock:  # else a thread may take away what another has begun to read
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]
    __import__(name)
    return sys.modules[name]
