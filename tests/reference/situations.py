"""What the technician's page shows of each situation: the screen, from what tests have seen the commands say.

`tests/data/told.json` and `tests/data/doctor.json` are held to what is said; what differs from one gateway to the next
stands there as a word in capitals, and is shown here as on a gateway that the package is on.
"""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.looking import check
from agent.cli.writing.output import Output
from agent.core.report.checks import CHECKS, Line, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = Path(__file__).parents[1] / "data"
BEGIN, END = "<!-- Written by `make reference`. -->\n", "<!-- The end of what is written. -->\n"
COLUMNS = 80  # of a serial console

# The page's parts, by the check that a situation's first line is of.
_ENDPOINT, _CONNECT = CHECKS.index("endpoint"), CHECKS.index("connect")
PARTS = {
    "On the gateway: no network is needed": (*CHECKS[:_ENDPOINT], "dependants", "daemon"),
    "On the way to the endpoint": CHECKS[_ENDPOINT:_CONNECT],
    "At the endpoint": ("connect", "permissions"),
}
_SHOWN = (
    (r"DIR/state", "/var/lib/iot-cert-agent"),
    (r"DIR/claim(\.key|/key\.pem)", "/etc/iot-cert-agent/claim/key.pem"),
    (r"DIR/roots\.pem", "/usr/share/iot-cert-agent/amazon-roots.pem"),
    (r"DIR/(config\.yaml|claim|gates\.d)", r"/etc/iot-cert-agent/\1"),
    (r"DIR/app", "/etc/app/app"),
    (r"DISK", "/var"),
    (r"TIME", "2026-11-29 09:00 UTC"),
    (r"\bN (?=KiB|MiB|inodes)", "60 "),
    (r"PORT", "8883"),
    (r"\blocalhost\b|127\.0\.0\.1(?=[: ])", "abc123-ats.iot.eu-west-1.amazonaws.com"),
)
Said = dict[str, list[str]]


def situations() -> dict[str, Said]:
    """Return what is said in each situation in which something is, by its name; what says the same stands once."""
    found: dict[str, Said] = {}
    seen = set()
    for file in ("told.json", "doctor.json"):
        for name, said in json.loads((DATA / file).read_text()).items():
            shown = {teller: [_as_shown(text) for text in texts] for teller, texts in said.items()}
            looks = re.sub(r"\d+", "N", "\n".join(shown["check"]))
            if (shown["check"] or shown.get("status")) and (not looks or looks not in seen):
                found[name] = shown
            seen.add(looks)
    return found


def written() -> str:
    """Return the part of the page."""
    return "\n".join([BEGIN, *_parts(), END])


def into(page: str) -> str:
    """Return the page with that part in the place of the one that it has."""
    head, _, rest = page.partition(BEGIN)
    return head + written() + rest.partition(END)[2]


def _parts() -> Iterator[str]:
    known = situations()
    for title, named in PARTS.items():
        yield f"### {title}\n"
        for name in named:
            yield from (_situation(title, said) for title, said in known.items() if _first(said) == name)


def _first(said: Said) -> str:
    """Return the check that a situation belongs to: of the first line that is a failure, or of the first one."""
    lines = sorted(said["check"], key=lambda line: not line.startswith("failure")) or said["status"]
    return lines[0].split()[1]


def _situation(name: str, said: Said) -> str:
    title = name[0].upper() + name[1:]
    head = f'<details markdown="1">\n<summary><code>{_first(said)}</code> {title}</summary>\n'
    return f"{head}\n```text\n{_screen(said)}```\n\n</details>\n"


def _screen(said: Said) -> str:
    """Return what a terminal shows: of `check` what is wrong, and of `status` the health where that says more."""
    shown, told = io.StringIO(), set()
    with redirect_stdout(shown):
        output = Output(as_json=False)
        output._terminal.width = COLUMNS
        if said["check"]:
            output.line("$ sudo iot-cert check")
        for line, remedy in zip(said["check"], said["remedies"], strict=True):
            verdict, name, code, text = re.fullmatch(r"(\w+) (\w+) (\S+): (.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
            check._show(Line(check=name, verdict=Verdict(verdict), code=code, text=text, remedy=remedy), output)
            told.add(text)
        codes = dict(line.split() for line in said["exit codes"] if line.startswith(("check ", "status ")))
        if said["check"]:
            output.line(f"  (exit code {codes['check']})")
        health = [line.partition(": ")[2] for line in said.get("status", ())]
        if set(health) - told:
            output.line("$ iot-cert status")
            output.screen([("health", "\n".join(health))])
            output.line(f"  (exit code {codes['status']})")
    return shown.getvalue()


def _as_shown(text: str) -> str:
    for pattern, put in _SHOWN:
        text = re.sub(pattern, put, text)
    return text
