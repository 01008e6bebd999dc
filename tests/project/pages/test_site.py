"""The site that `make docs` builds: it leads to every page in the README's order, and links lead somewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from support.documents.pages import PAGES, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = yaml.safe_load((ROOT / "packaging" / "docs" / "mkdocs.yml").read_text())
LINK = re.compile(r"\]\(([^)\s#:]*)(?:#([^)\s]+))?\)")
REFERENCE = "docs/reference/index.md"


def led_to(part: Any) -> Iterator[str]:
    """Yield the pages of the navigation, or of a part of it, in their order."""
    match part:
        case str():
            yield part
        case dict():
            yield from led_to(list(part.values()))
        case _:
            for item in part:
                yield from led_to(item)


NAVIGATION = list(led_to(SETTINGS["nav"]))


def in_order(page: str) -> list[str]:
    """Return the pages under docs/ that a page links, each once; the index of the reference brings along its own."""
    beside = page.rpartition("/")[0]
    linked = [f"{beside}/{name}".removeprefix("/") for name, _ in LINK.findall((ROOT / page).read_text()) if name]
    pages = [name for name in dict.fromkeys(linked) if re.fullmatch(r"docs/.*\.md", name)]
    return [each for name in pages for each in ([name, *in_order(name)] if name == REFERENCE else [name])]


def anchors(page: str) -> set[str]:
    """Return the names that a page's headings have in the site, and on a forge."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    words = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE))
    return {re.sub(r"\s", "-", heading.strip()) for heading in words}


def test_the_navigation_names_every_page_once_in_the_readmes_order() -> None:
    """The front page comes first; the documents at the top of the tree are in it, too."""
    assert NAVIGATION[0] == "README.md"
    assert len(NAVIGATION) == len(set(NAVIGATION))
    assert {name for name in NAVIGATION if "/" not in name} == {path.name for path in ROOT.glob("*.md")}
    pages = [name for name in NAVIGATION if name.startswith("docs/")]
    assert pages == in_order("README.md")
    assert set(pages) == {path.relative_to(ROOT).as_posix() for path in PAGES}


@pytest.mark.parametrize("page", NAVIGATION)
def test_a_link_leads_to_a_file_and_a_heading_that_are_there(page: str) -> None:
    """Without a build. Where a heading is gone, a reader lands at the top of a long page."""
    for name, heading in LINK.findall((ROOT / page).read_text()):
        target = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert target.exists(), name
        assert not heading or heading in anchors(target.relative_to(ROOT).as_posix()), (name, heading)


def test_the_site_loads_nothing_from_elsewhere() -> None:
    """No font and no script of another server, also where the theme would take one by itself."""
    theme, extra = SETTINGS["theme"], SETTINGS.get("extra", {})
    assert theme["font"] is False
    assert "analytics" not in extra
    own = [*SETTINGS.get("extra_css", []), *SETTINGS.get("extra_javascript", [])]
    assert [name for name in own if not (ROOT / name).is_file()] == []
    assert "url(" not in "".join((ROOT / name).read_text() for name in own)
    assert SETTINGS["plugins"] == ["search"]


def test_a_page_that_is_missing_is_seen_and_the_build_is_strict() -> None:
    """MkDocs counts a warning only where it may tell it, so it must not be quiet."""
    (build,) = re.findall(r"mkdocs build (.*)", (ROOT / "Makefile").read_text())
    assert "--strict" in build
    assert not {"-q", "--quiet"} & set(build.split())
    assert set(SETTINGS["validation"]["links"].values()) | set(SETTINGS["validation"]["nav"].values()) == {"warn"}
