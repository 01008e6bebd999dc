"""The screens on the pages are those of the commands of today, typed at a terminal against the sandbox."""

from __future__ import annotations

import re

from pictures.recording import record, recorded


def shape(lines: list[str]) -> list[str]:
    """Return lines without what differs from one day or machine to another."""
    return [re.sub(r"\d+", "0", line) for line in lines]


def labels(lines: list[str]) -> list[str]:
    """Return what each line begins with, where it is no further line of the one before."""
    plain = [re.sub(r"\x1b\[\d+m", "", line) for line in lines]
    return [line.split("  ")[0] for line in plain if not line.startswith(" ")]


def test_a_recording_of_today_shows_what_the_pages_show() -> None:
    """To the letter of a rotation; of the rest its lines, since disk and clock are the machine's own."""
    made, kept = record(), recorded()
    assert shape(made["screens"]["rotate"]) == shape(kept["screens"]["rotate"])
    assert labels(made["screens"]["status"]) == labels(kept["screens"]["status"])
    assert len(made["screens"]["check"]) > 16
    assert [phase for phase, _ in made["rotation"]] == [phase for phase, _ in kept["rotation"]]
