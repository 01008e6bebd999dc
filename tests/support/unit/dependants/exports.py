"""Sets that a dependant's copies are made of, and where the copies lie."""

from __future__ import annotations

from pathlib import Path

from agent.core.dependants import Content, Copy, Format
from agent.dependants.export import extract

PASSWORD = b"correct horse 42"
STORE_PASSWORD = Path("/etc/app/store.password")


def a_copy(content: Content, form: Format = Format.PEM, password_file: Path | None = STORE_PASSWORD) -> Copy:
    """Return a copy to somewhere."""
    return Copy(to=Path("/nowhere/copy"), content=content, format=form, password_file=password_file)


def one(state: Path, content: Content, form: Format = Format.PEM, password: bytes = PASSWORD + b"\n") -> bytes:
    """Return what one copy holds."""
    (made,) = extract(state, [a_copy(content, form)], {STORE_PASSWORD: password}).copies
    return made
