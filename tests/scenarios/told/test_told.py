"""Whatever is not as it should be with a gateway stands in all that tell of it, in the words that are written down.

What each says is made by running it; `support.telling.told` says how the table in `tests/data/told.json` is written
anew.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from support.telling.situations import OF_OTHERS, SILENT, SITUATIONS, told
from support.telling.told import REMEDIES, TABLE, TELLERS, Told

WRITTEN: dict[str, Told] = json.loads(TABLE.read_text())
ROOT = Path(__file__).parents[3]
DOCTOR = ROOT / "tests" / "data" / "doctor.json"
CONFIGURED = ("configuration", "endpoint")  # the checks whose subject `config check` has to know as well


def test_each_situation_stands_in_the_table() -> None:
    """None is made that is not written down, and none is written down that is not made."""
    assert list(WRITTEN) == list(SITUATIONS)
    assert set(SILENT) <= set(SITUATIONS)
    assert all(set(told_) == {*TELLERS, REMEDIES} for told_ in WRITTEN.values())


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_is_told(name: str) -> None:
    """Each teller says what is written down."""
    if name in OF_OTHERS and os.geteuid() != 0:
        pytest.skip("root alone may give a file to another user")
    assert told(name) == WRITTEN[name], "PYTHONPATH=tests python -m support.telling.told writes the table anew"


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_teller_knows(name: str) -> None:
    """A situation that one of them does not know has a reason for that, and no reason is given for one that does."""
    found = WRITTEN[name]
    knows = {teller for teller in TELLERS if _says(teller, found)}
    expected = set(TELLERS) - {"config check", "exit codes"} - set(SILENT.get(name, ()))
    assert knows - {"config check", "exit codes"} == expected


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_exit_codes_agree(name: str) -> None:
    """Status, metrics and shadow have one code; the doctor's is another only where it knows a remedy of its own."""
    found = WRITTEN[name]
    status, check, config = (int(line.split()[-1]) for line in found["exit codes"])
    for teller in ("metrics", "shadow"):
        assert not found[teller] or found[teller][0] == f"health {status}"
    assert (check == 0) <= (status == 0)
    assert (status == 3) <= (check in {2, 3})
    wrong = [line for line in found["check"] if line.split()[1] in CONFIGURED]
    assert bool(wrong) <= bool(found["config check"])
    assert (config != 0) <= (check != 0)


@pytest.mark.parametrize("reason", sorted({reason for reasons in SILENT.values() for reason in reasons.values()}))
def test_a_reason_that_names_a_test_names_one_that_is_there(reason: str) -> None:
    """What is told when it happens is tested where it happens."""
    for path in re.findall(r"tests/\S+\.py", reason):
        assert (ROOT / path).is_file()


@pytest.mark.parametrize("told_", [*WRITTEN.values(), *json.loads(DOCTOR.read_text()).values()])
def test_no_remedy_repeats_its_line(told_: Told) -> None:
    """No command that the line names itself, and no sentence of it."""
    for line, remedy in zip(told_["check"], told_[REMEDIES], strict=True):
        assert not set(re.findall(r"`[^`]+`", remedy)) & set(re.findall(r"`[^`]+`", line)), line
        assert not remedy or remedy.rstrip(".") not in line


def _says(teller: str, found: Told) -> bool:
    return any(not line.startswith("health ") for line in found[teller])
