"""The account's function of the vending machine, which dies before a verb of a port; it is put beside the stack's code.

The file that `ORDER` names says before which verb, counted from 0, and is removed then: it dies once. Where that is
one more than there are, it dies when all is done, and its answer is lost. What it has done whole it writes beside that
file, a verb in a line, under the name that ends with `.verbs`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.backend import lambdas

ORDER = "DYING"

_account = lambdas.account


class _Life:
    """How long one run lasts."""

    def __init__(self, order: Path) -> None:
        self._order = order
        self._last = int(order.read_text()) if order.exists() else -1
        self.verbs: list[str] = []

    def watched(self, port: Any) -> Any:
        """Return a port that tells of each verb before it is carried out."""
        return _Mortal(port, self)

    def before(self, verb: str) -> None:
        """Die, or go on."""
        if len(self.verbs) == self._last:
            self._order.unlink()
            os._exit(1)
        self.verbs.append(verb)


class _Mortal:
    def __init__(self, port: Any, life: _Life) -> None:
        self._port, self._life = port, life

    def __getattr__(self, verb: str) -> Any:
        real = getattr(self._port, verb)

        def carry_out(*args: Any, **options: Any) -> Any:
            self._life.before(verb)
            return real(*args, **options)

        return carry_out


def vend(event: Any, context: Any) -> Any:
    """See `agent.backend.lambdas.vend`."""
    order = Path(os.environ[ORDER])
    life = _Life(order)

    def account(patience: Any) -> Any:
        whole = _account(patience)
        ports = {name: life.watched(getattr(whole, name)) for name in ("registry", "store", "outbox")}
        return replace(whole, **ports)

    lambdas.account = account  # type: ignore[assignment]
    answer = lambdas.vend(event, context)
    order.with_suffix(".verbs").write_text("\n".join(life.verbs))
    life.before("answer")
    return answer
