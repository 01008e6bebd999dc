"""The examples of programs that use the certificate. Three of them run in the system tests; here is the rest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from agent.config.reader import load, parse
from agent.core.dependants import Content
from support.documents.pages import blocks, section

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "config" / "examples"
SHIPPED = ROOT / "config" / "config.yaml"
README = (EXAMPLES / "README.md").read_text()
FOLDERS = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_goes_into_the_agents_configuration_is_sound(folder: str) -> None:
    """Added to the shipped configuration as it is."""
    added = (EXAMPLES / folder / "agent.yaml").read_text()
    found = parse(f"{SHIPPED.read_text()}\n{added}", SHIPPED)
    assert len(found.dependants.units) == 1
    assert found.dependants.units[0].name.removesuffix(".service") in added


def test_the_list_of_examples_is_complete() -> None:
    """Each folder has its row, and no row is without a folder."""
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", README, flags=re.MULTILINE)) == FOLDERS


def test_greengrass_reads_what_the_agent_writes() -> None:
    """Key, certificate and roots, by the paths of the nucleus's own configuration; the roots it may change."""
    found = parse(f"{SHIPPED.read_text()}\n{(EXAMPLES / 'greengrass' / 'agent.yaml').read_text()}", SHIPPED)
    system = yaml.safe_load((EXAMPLES / "greengrass" / "config.yaml").read_text())["system"]
    copies = {copy.content: copy for copy in found.dependants.copies}
    assert str(copies[Content.KEY].to) == system["privateKeyPath"]
    assert str(copies[Content.CHAIN].to) == system["certificateFilePath"]
    assert str(copies[Content.ANCHORS].to) == system["rootCaPath"]
    assert [copy.heal for copy in found.dependants.copies] == [True, True, False]
    assert copies[Content.KEY].mode & 0o077 == 0


def test_the_commented_lines_of_the_configuration_are_sound(tmp_path: Path) -> None:
    """An operator who takes the `#` away gets what is written there."""
    text = SHIPPED.read_text()
    for key in ("copies", "hooks", "dependants"):
        start = text.index(f"# {key}:")
        block = text[start : text.index("\n\n", start)]
        text = text.replace(block, "\n".join(line.removeprefix("# ") for line in block.splitlines()))
    path = tmp_path / "config.yaml"
    path.write_text(text)
    dependants = load(path).dependants
    assert (len(dependants.copies), len(dependants.units)) == (1, 1)
    assert dependants.units[0].verify.command


def test_what_the_integrators_page_shows_is_sound() -> None:
    """Its first block about other programs, added to the shipped configuration."""
    block, *_ = blocks(section("docs/integrator.md", "Other programs that use the certificate"), "yaml")
    dependants = parse(f"{SHIPPED.read_text()}\n{block}", SHIPPED).dependants
    assert (len(dependants.copies), len(dependants.units)) == (2, 1)
