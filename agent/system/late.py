"""A module that the standard library reads for what is hardly ever asked of it: it is read when it is.

`pathlib` wants one function of `urllib.parse`, and that wants `ipaddress`, for the address of a file. An idle daemon
would carry both for years, and each command would read them before its work. A stand-in takes the module's place until
something of it is asked for; then the module itself does.
"""

from __future__ import annotations

import sys
from _thread import allocate_lock
from typing import Any

_NAME = "urllib.parse"

_lock = allocate_lock()


class _StandIn(type(sys)):  # type: ignore[misc]  # the type of modules, without reading `types`
    """The module while it is not read yet."""

    def quote_from_bytes(self, *given: Any, **named: Any) -> str:
        """Do as the module's own, which `pathlib` imports by its name long before it is called."""
        quoted: str = _read().quote_from_bytes(*given, **named)
        return quoted

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # it is no package
            raise AttributeError(name)
        return getattr(_read(), name)


def put_off() -> None:
    """Have a stand-in for the module, if that is not read yet."""
    if _NAME not in sys.modules:
        stand_in = _StandIn(_NAME)
        package, _, inner = _NAME.partition(".")
        setattr(__import__(package), inner, stand_in)
        sys.modules[_NAME] = stand_in


def _read() -> Any:
    """Return the module itself, which is in its place from then on.

    Raises:
        ImportError: It cannot be read.
    """
    with _lock:  # else a thread may take away what another has begun to read
        if isinstance(sys.modules.get(_NAME), _StandIn):
            del sys.modules[_NAME]
    __import__(_NAME)
    return sys.modules[_NAME]
