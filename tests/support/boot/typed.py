"""Lines of a page as a person types them on a gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.boot.machine import Machine

# Root types it here, and is asked for no password.
SUDO = '#!/bin/sh\nexec "$@"\n'


def types(machine: Machine, line: str, expect: int | None = 0, **variables: str) -> str:
    """Type a line in the home directory and return what is printed."""
    told = machine.run(
        "env", *(f"{name}={value}" for name, value in variables.items()), "sh", "-c", f"cd /root\n{line}", expect=expect
    )
    return told.out + told.err
