"""What a process of tests makes of boto3 once: to make a client costs as much as all that most tests ask of it.

A test is lent a client for each that it, or what it tests, would make; at its end what was registered with it is taken
off, and the next test is lent it. One that has tried something again is thrown away: it remembers how often it may.
A session is made for each that asks for one, with a copy of the first one's handlers, which are most of its making.
"""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.hooks import EventAliaser

if TYPE_CHECKING:
    from collections.abc import Iterator

_free: defaultdict[str, list[Any]] = defaultdict(list)
_register = botocore.session.Session._register_builtin_handlers


class _Lent:
    """A client that is lent, and what was registered with it since."""

    def __init__(self, key: str, client: Any) -> None:
        self._key, self._client = key, client
        self._registered: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._tired = False
        self._events = client.meta.events
        for name in ("register", "register_first", "register_last"):
            vars(self._events)[name] = self._noting(getattr(self._events, name))
        client.meta.events.register("after-call.*.*", self._look)
        client.meta.events.register("after-call-error.*.*", self._tire)

    def _noting(self, register: Any) -> Any:
        def noted(event: str, handler: Any, *words: Any, **named: Any) -> None:
            register(event, handler, *words, **named)
            self._registered.append((event, (handler, *words), named))

        return noted

    def _look(self, parsed: dict[str, Any], **_: Any) -> None:
        self._tired |= bool(parsed.get("ResponseMetadata", {}).get("RetryAttempts"))

    def _tire(self, **_: Any) -> None:
        self._tired = True

    def come_back(self) -> None:
        """Take off what was registered, and be free for the next test."""
        for name in ("register", "register_first", "register_last"):
            del vars(self._events)[name]
        for event, words, named in self._registered:
            self._events.unregister(event, *words, **named)
        if not self._tired:
            _free[self._key].append(self._client)


@contextmanager
def lending() -> Iterator[None]:
    """Have boto3 lend clients; each comes back at the end."""
    sessions, lent = botocore.session.Session, list[_Lent]()
    real = sessions.create_client

    def create_client(self: Any, service: str, *words: Any, **named: Any) -> Any:
        key = _key(self, service, words, named)
        client = _free[key].pop() if _free[key] else real(self, service, *words, **named)
        lent.append(_Lent(key, client))
        return client

    sessions.create_client = create_client
    sessions._register_builtin_handlers = _give_handlers
    try:
        yield
    finally:
        sessions.create_client, sessions._register_builtin_handlers = real, _register
        for item in lent:
            item.come_back()


def _give_handlers(session: Any, _events: Any) -> None:
    session._original_handler = copy.copy(_handlers())
    session._events = EventAliaser(session._original_handler)


@cache
def _handlers() -> Any:
    made = botocore.session.Session(include_builtin_handlers=False)
    _register(made, made._events)
    return made._original_handler


def _key(session: Any, service: str, words: tuple[Any, ...], named: dict[str, Any]) -> str:
    """Return all that a client is made of."""
    config = vars(named["config"]) if named.get("config") else {}
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_") or name == "HOME"}
    own = [session.profile, session.get_config_variable("region")]
    return repr([service, words, {**named, "config": config}, settings, own])
