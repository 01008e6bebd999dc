"""The pages: the README is short and leads to all, they name what the program says, and their examples are sound."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent.cli.command_line.parser import parse as parse_arguments
from agent.config.reader import parse
from agent.core.exit_codes import Exit
from agent.core.failure.failure import FailureClass
from agent.core.report.checks import CHECKS
from reference.situations import PARTS, situations
from support.documents.pages import PAGES, ROOT, blocks, section, typed

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = ROOT / "config" / "config.yaml"
README = ROOT / "README.md"
TECHNICIAN = ROOT / "docs" / "technician.md"
EXAMPLES = ROOT / "config" / "examples"


def merged(whole: Any, part: Any) -> Any:
    """Return a configuration with what an example says in it, key by key."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return whole | {key: merged(whole.get(key), value) for key, value in part.items()}
    return part


def test_the_readme_is_short() -> None:
    """A reader sees what it is, the two commands, a screen, why it is safe, and where to go on."""
    assert len(README.read_text().splitlines()) < 150


def test_the_readme_leads_to_every_page() -> None:
    """None is found by luck alone."""
    led = set(re.findall(r"\]\((docs/[^)#]+\.md)[)#]", README.read_text()))
    pages = {path.relative_to(ROOT).as_posix() for path in PAGES}
    reference = {page for page in pages if page.startswith("docs/reference/")}
    assert led == pages - reference | {"docs/reference/index.md"}
    index = (ROOT / "docs" / "reference" / "index.md").read_text()
    assert {path for path in reference if path.rsplit("/", 1)[1] not in index} == {"docs/reference/index.md"}


def test_the_readme_installs_as_the_longer_page_does() -> None:
    """That one is typed word by word on a booted gateway, by a system test."""
    steps = typed(section("docs/start.md", "A first gateway in ten minutes"))
    short = typed(section("README.md", "Install"))
    assert [line for line in steps if line in short] == short


def test_the_technicians_page_names_every_verb_exit_code_and_failure_class(capsys: pytest.CaptureFixture[str]) -> None:
    """What the program can do on a gateway and say there; `sandbox`, `cloud` and `run` are not for technicians."""
    page = TECHNICIAN.read_text().partition("\n## Every situation")[0]
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    verbs = re.findall(r"^    ([a-z-]+)(?:  |$)", capsys.readouterr().out, flags=re.MULTILINE)
    elsewhere = {"cloud", "help", "run", "sandbox"}
    assert [verb for verb in verbs if f"iot-cert {verb}" not in page] == [v for v in verbs if v in elsewhere]
    assert [code for code in Exit if f"| {code.value} |" not in page] == []
    assert [kind for kind in FailureClass if f"| `{kind}` |" not in page] == []


def test_the_technicians_page_has_a_situation_for_every_check() -> None:
    """In the order of the doctor's lines, what needs no network first; and each that tests know is on it, once."""
    part = section("docs/technician.md", "Every situation, and what the screen says")
    shown = re.findall(r"^<summary><code>(\w+)</code> (.+)</summary>$", part, flags=re.MULTILINE)
    named = list(dict.fromkeys(check for check, _ in shown))
    assert named == [check for part in PARTS.values() for check in part]
    assert set(named) == set(CHECKS)
    assert len({title for _, title in shown}) == len(shown) == len(situations())
    assert [text for text in re.findall(r"\b[A-Z]{4,}\b", part) if text in {"TIME", "PORT", "DISK"}] == []
    assert "DIR/" not in part


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_configuration_on_a_page_is_read(page: Path) -> None:
    """Each block, put into the shipped configuration, changes something there; the nucleus's file is not ours."""
    shipped = SHIPPED.read_text()
    for block in blocks(page.read_text(), "yaml"):
        part, base = yaml.safe_load(block), yaml.safe_load(shipped)
        if "method" in part.get("enrollment", {}):
            del base["enrollment"]  # each method has keys of its own
        whole = yaml.safe_dump(merged(base, part))
        assert "system" in part or parse(whole, SHIPPED) != parse(shipped, SHIPPED), block


def test_the_integrators_page_shows_the_examples_to_the_letter() -> None:
    """Those files run in the system tests; a page that shows another one would not."""
    page = (ROOT / "docs" / "integrator.md").read_text()
    shown = {"".join(block) for language in ("nginx", "conf", "yaml", "ini") for block in blocks(page, language)}
    files = [path for path in EXAMPLES.glob("*/*") if path.suffix != ".py"]
    assert [path.name for path in files if path.read_text() not in shown] == []
    program = (EXAMPLES / "sdk-application" / "telemetry.py").read_text()
    for line in blocks(page, "python")[0].splitlines():
        assert line.strip().split("(")[0].split("=")[0].strip() in program, line
