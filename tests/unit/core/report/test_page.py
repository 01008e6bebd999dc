"""The page about a gateway: what it tells, that it needs nothing besides itself, that it fits a phone and a desk."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.report import checks
from agent.core.report.document import document
from agent.core.report.page import Found, page
from agent.core.report.screen import screen
from agent.core.report.seen import OnDisk, WatchedEnd, WatchedFile
from agent.core.values import User
from support import make
from support.make import DAY, NOW

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script src=http://x.example/>&\"'`"
WITHOUT_AN_END = {"meta", "br"}


def found(**changes: Any) -> Found:
    """Return what is found on a gateway with something of each kind."""
    ends = (WatchedEnd(subject="CN=Plant CA", sha256="12" * 32, not_after=NOW + 3 * DAY),)
    usual: dict[str, Any] = {
        "current": make.in_use(
            anchors=(
                make.anchor(),
                make.anchor(subject="CN=Soon", sha256="bb" * 32, not_after=NOW + 100 * DAY),
                make.anchor(subject=f"CN={HOSTILE}", sha256="cc" * 32, not_after=NOW - DAY),
            )
        ),
        "anchor_in_use": "bb" * 32,
        "generations": (
            OnDisk(generation=7, certificate_id="ab" * 32, not_after=NOW + 364 * DAY),
            OnDisk(generation=6, certificate_id="cd" * 32, not_after=NOW + 91 * DAY),
            OnDisk(generation=5, certificate_id="", not_after=None),
        ),
        "watched": (WatchedFile(path="/etc/plant.pem", warn=30 * DAY, certificates=1, ends=ends),),
        "live": make.live("down", HOSTILE),
    }
    status = make.status(**usual | changes)
    failed = make.failure(message=HOSTILE)
    return Found(
        document=document(status),
        screen=list(screen(status)),
        lines=[
            checks.ok("dns", "It is found."),
            checks.failure("tcp", "x", HOSTILE, "Run `iot-cert check`."),
        ],
        history=[
            make.finished(at=NOW - DAY, reason="the first", asked_by=User(uid=1000, name="mara")),
            make.finished(Phase.ROLLED_BACK, failure=failed, reason=HOSTILE),
        ],
        missing=[("journal", HOSTILE)],
    )


class PageReader(HTMLParser):
    """Reads a page as a browser does, and complains of what a browser would have to guess."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.names: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and its attributes."""
        self.names.add(tag)
        self.attributes += attrs
        if tag not in WITHOUT_AN_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Hold each end to its beginning."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note what a person reads."""
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


def test_it_tells_what_is_found() -> None:
    """Certificates, anchors and watched files with their ends, what is wrong, the history from the last change on."""
    said = " ".join(" ".join(PageReader(page(found())).texts).split())
    for text in (
        "gw-0042", "Generation 7: CN=gw-0042", "364 days left", "Generation 6", "to go back to",
        "Plant CA", "/etc/plant.pem",
        "the endpoint chained to it", "EXPIRED", "schedule mara (uid 1000): the first",
        "Run iot-cert check .", "No key, token or password", "journal",
    ):  # fmt: skip
        assert text in said
    assert said.index("rolled-back rotate") < said.index("committed rotate")


def test_what_comes_from_outside_stays_text() -> None:
    """A name in a certificate, a service's message, a reason that a person typed."""
    reader = PageReader(page(found()))
    assert "script" not in reader.names
    assert HOSTILE in "".join(reader.texts)


def test_it_needs_nothing_besides_itself() -> None:
    """No script, no link, nothing that is loaded; and the page itself forbids a browser to."""
    text = page(found())
    reader = PageReader(text)
    assert not {"script", "link", "img", "iframe", "object", "form", "a", "base"} & reader.names
    assert not {"src", "href", "srcset", "action", "data", "onload", "onclick"} & {
        name for name, _ in reader.attributes
    }
    assert "url(" not in text
    assert "@import" not in text
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in reader.attributes


def test_a_bar_is_as_long_as_what_is_left() -> None:
    """Of the last end of its part; what has ended has none."""
    text = page(found())
    assert re.findall("class='(\\w+)' style='width:([0-9.]+)%'", text) == [
        ("good", "100.0"), ("good", "25.0"),  # certificates
        ("good", "100.0"), ("doubtful", "2.5"), ("bad", "0.0"),  # anchors
        ("doubtful", "100.0"),  # of a watched file
    ]  # fmt: skip


def test_a_gateway_without_anything_has_a_page_too() -> None:
    """Before its enrolment, and where the doctor could not be had."""
    status = make.status(current=None)
    reader = PageReader(page(Found(document=document(status), screen=list(screen(status)))))
    said = "".join(reader.texts)
    assert "Not enrolled" in said
    assert "Run iot-cert enroll" in said or "run iot-cert enroll" in said
    assert "Trust anchors" not in said


@pytest.mark.whole
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no browser here")
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out_of_a_phone_or_a_desk(width: int, tmp_path: Path) -> None:
    """In a real browser: the page is as wide as its window, however long the names are."""
    text = page(found(exposed=("/var/lib/" + "x" * 200,)))
    measure = "document.title = 'wide ' + frames[0].document.documentElement.scrollWidth"
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe width="{width}" height="800" style="border:0" srcdoc="{escape(text)}"></iframe>'
        f"<script>onload = () => {{ {measure} }}</script>"
    )
    line = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path}/profile",
        "--dump-dom",
    ]
    done = subprocess.run([*line, frame.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    assert f"<title>wide {width}</title>" in done.stdout
