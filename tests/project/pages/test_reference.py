"""The reference: each page and the schema are what the code of today says, and nothing is left out."""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING

import pytest

from agent.cli.command_line.parser import command_line
from agent.core.exit_codes import Exit
from reference import cloud_documents, documents, pages
from reference.__main__ import NAMES, TECHNICIAN, written
from support.documents.json_schema import fits, misfits
from support.documents.pages import ROOT, section

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = ROOT / "docs" / "reference"
WHOLE = documents.whole()


@pytest.fixture(scope="module", name="today")
def _today() -> dict[str, str]:
    return written()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_what_the_code_says(name: str, today: dict[str, str]) -> None:
    """And there is no page that nothing writes."""
    assert (REFERENCE / name).read_text() == today[name], "run `make reference`"
    assert {path.name for path in REFERENCE.iterdir()} == set(NAMES) - {TECHNICIAN}


def calls(folder: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call in the modules of a folder, with the name of what is called."""
    for path in (ROOT / "agent" / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield node.func.attr, node


def test_every_verb_has_its_json() -> None:
    """An operator's, too; the daemon prints none, and `help` prints text."""
    parsers = dict(pages.commands(command_line()))
    groups = {words[:1] for words in parsers if len(words) > 1}
    named = {" ".join(words) for words in parsers if words and words not in groups}
    assert named - {"run", "help"} == set(documents.EVERY)
    assert {name for names in documents.EVERY.values() for name in names} == set(documents.DEFS) - {"certificate"}


def test_every_key_of_the_json_says_what_it_holds() -> None:
    """Of what has a type, in words too; a few names say it all."""
    for name in ("certificate", "change", "progress", "status", "outcome", "line", *cloud_documents.DEFS):
        keys = documents.DEFS[name]["properties"]
        assert {key for key, item in keys.items() if not item.get("description")} <= {"event"}, name
    assert "None" not in json.dumps(WHOLE)


def test_every_metric_is_on_the_page(today: dict[str, str]) -> None:
    """Each that the code can yield by its name, and each that a release wrote."""
    tree = ast.parse((ROOT / "agent" / "core" / "report" / "metrics.py").read_text())
    yielded = [
        node.value.elts[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple)
    ]
    constants = [first.value for first in yielded if isinstance(first, ast.Constant)]
    named = {f"iot_cert_{constant}" for constant in constants if isinstance(constant, str)}
    released = (ROOT / "tests" / "data" / "0.1.0" / "run" / "metrics.prom").read_text()
    assert len(named) > 10
    for name in named | set(re.findall(r"^# TYPE (\S+)", released, flags=re.MULTILINE)):
        assert f"| `{name}` |" in today["metrics.md"], name


def test_every_field_of_the_journal_is_on_the_page() -> None:
    """What the daemon tells machines beside an event."""
    told = {word.arg for name, call in calls("daemon") if name in {"tell", "log", "_log"} for word in call.keywords}
    assert {name for name in told if name} - {"events"} <= set(pages.FIELDS)


def test_the_technicians_page_has_the_same_exit_codes() -> None:
    """One sentence for each, on both pages."""
    page = section("docs/technician.md", "What every command has in common")
    assert dict(re.findall(r"^\| (\d+) \| (.*) \|$", page, flags=re.MULTILINE)) == {
        str(code.value): pages.EXITS[code] for code in Exit
    }


def test_the_schema_refuses_what_is_not_so() -> None:
    """A line of another verb, a key that is missing or unknown, a time without a zone."""
    rotate = WHOLE["$defs"]["iot-cert-rotate"]
    line = {"event": "progress", "at": "2026-11-29T09:00:00+00:00", "code": "planned", "text": "It is planned."}
    assert fits(rotate, line, whole=WHOLE, closed=True)
    for wrong in ({"event": "paused"}, {"at": "2026-11-29T09:00:00"}, {"code": 3}, {"new": 1}):
        assert list(misfits(rotate, line | wrong, whole=WHOLE, closed=True)), wrong
    assert fits(rotate, line | {"new": 1}, whole=WHOLE)
    assert not fits(rotate, {"event": "progress"}, whole=WHOLE)
