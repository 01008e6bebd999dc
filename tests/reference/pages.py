"""The pages of the reference, each from the code that it tells of: its table, parser, catalogue, metrics or units."""

from __future__ import annotations

import argparse
import configparser
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.command_line.examples import EXAMPLES
from agent.cli.command_line.parser import command_line
from agent.config.describe import rows, takes, without
from agent.config.schema import FILE
from agent.core.dependants import Served, Step
from agent.core.exit_codes import Exit
from agent.core.report.journal_events import CATALOGUE, SHOWN, Event
from agent.core.report.metrics import render
from agent.core.report.seen import WatchedEnd, WatchedFile
from agent.core.report.status import Retiring
from pictures.files import STATE, state_directory, told_of
from reference.documents import DEFS, EVERY
from support import make

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reference.shapes import Schema

ROOT = Path(__file__).parents[2]
MANUAL = ROOT / "packaging" / "man" / "iot-cert-agent.8"
UNITS = sorted((ROOT / "systemd").glob("*.s*et")) + sorted((ROOT / "systemd").glob("*.service"))
BEFORE = "generations/000001"
WRITTEN = "Written by `make reference`{source}; a test compares it with the code."

EXITS = {
    Exit.DONE: "done, or healthy",
    Exit.DEGRADED: "the change failed and the previous set is in use, or something needs attention",
    Exit.USAGE: "the command line, a file that it names, or the configuration is wrong",
    Exit.CRITICAL: "there is no usable set, it has expired, or the endpoint accepts none of this gateway",
    Exit.REFUSED: "refused: permission, another change is running, the daily limit is used up",
    Exit.UNAVAILABLE: "no network or no answer from the cloud; the change is kept and goes on",
    Exit.INTERRUPTED: "interrupted with Ctrl-C; the change is kept",
}

# What stands in a field of a record, by the field's name without its prefix.
FIELDS = {
    "event": "the name of the event, as below",
    "change": "the id of the change that it is about",
    "phase": "how far that change has come",
    "generation": "the generation in use",
    "failure_class": "the class of the failure",
    "failure_code": "a short stable name of the failure",
    "uid": "the user of the gateway who gave the order or was refused one: a number",
    "user": "the same user's name",
    "lost": "how many records could not be written before this one",
}


def page(title: str, source: str, *parts: str) -> str:
    """Return a page."""
    head = WRITTEN.format(source=f" from {source}")
    return "\n\n".join([f"# {title}", head, *(part.strip("\n") for part in parts)]) + "\n"


def table(heads: tuple[str, ...], lines: Iterable[Iterable[str]]) -> str:
    """Return a table."""
    rule = tuple("---" for _ in heads)
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in (heads, rule, *lines))


def _cell(text: str) -> str:
    """Outside of code, `<` would begin a tag, which a reader's program leaves out."""
    plain = re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", text)
    return plain.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def index() -> str:
    """Return the page that leads to the others."""
    lines = (
        ("[Verbs](verbs.md)", "what each takes, lines to begin with, and the exit codes"),
        ("[Configuration](configuration.md)", "every key: what it takes, and what holds without it"),
        ("[JSON of each verb](json.md)", "what `--json` prints, with a [schema](iot-cert.schema.json)"),
        ("[Metrics](metrics.md)", "what the daemon writes for Prometheus"),
        ("[Journal](journal.md)", "fields, and the MESSAGE_ID of each event"),
        ("[Files and units](files.md)", "what is where, and who runs it"),
    )
    return page("Reference", "the code", table(("page", "has"), lines))


# -- verbs -------------------------------------------------------------------------------------------------------------


def verbs() -> str:
    """Return the page of the verbs: what each takes, and lines to begin with."""
    found = [_verb(words, parser) for words, parser in commands(command_line()) if words]
    exits = table(("exit code", "means"), ((str(code.value), EXITS[code]) for code in Exit))
    common = (
        "Every verb takes `--json`; what is printed then is on [its own page](json.md). Those of a gateway take "
        "`--config FILE`, too."
    )
    return page("Verbs", "the parser of the command line", common, "## Exit codes", exits, *found)


def commands(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Yield the command, and each verb and action: its words and its parser."""
    yield words, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from commands(below, *words, name)


def _verb(words: tuple[str, ...], parser: argparse.ArgumentParser) -> str:
    name = " ".join(words)
    usage = re.sub(r"\s+", " ", parser.format_usage()).removeprefix("usage: ").strip()
    taken = [
        (_code(_spelled(action)), action.help or "")
        for action in parser._actions
        if action.dest not in {"help", "config", "json"} and not isinstance(action, argparse._SubParsersAction)
    ]
    parts = [f"## iot-cert {name}", parser.description or "", f"```text\n{usage}\n```"]
    parts += [table(("takes", "which is"), taken)] if taken else []
    parts += [f"```sh\n{chr(10).join(EXAMPLES[name])}\n```"] if name in EXAMPLES else []
    return "\n\n".join(part for part in parts if part)


def _spelled(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or action.dest)
    return " ".join(part for part in (action.option_strings[-1] if action.option_strings else "", value) if part)


# -- configuration -----------------------------------------------------------------------------------------------------


def configuration() -> str:
    """Return the page of the configuration's keys."""
    lines = ((_code(name), takes(key.kind), without(section, key), key.help) for name, section, key in rows(FILE))
    return page(
        "Configuration",
        "the table of keys",
        "`/etc/iot-cert-agent/config.yaml`. `[]` stands for the items of a list; a duration is a number with `s`, `m`, "
        "`h` or `d`. `iot-cert config check` checks the file and what it names; `/usr/share/iot-cert-agent/"
        "config.schema.json` is its JSON Schema.",
        table(("key", "takes", "without it", "what it is for"), lines),
    )


# -- JSON --------------------------------------------------------------------------------------------------------------


def documents() -> str:
    """Return the page of what is printed with `--json`."""
    lines = (
        (_code(f"iot-cert {verb}"), ", ".join(f"[{name}](#{name})" for name in names)) for verb, names in EVERY.items()
    )
    return page(
        "JSON of each verb",
        "the types of what is told",
        "With `--json` a verb prints an object a line, and an error as such a line, too. Keys are added, never renamed "
        "or given another meaning: ignore what you do not know. Times are RFC 3339, spans seconds. What is empty may "
        "be left out. The JSON Schema is [`iot-cert.schema.json`](iot-cert.schema.json): a line of `iot-cert status` "
        "fits `#/$defs/iot-cert-status`, one of `trust list` `#/$defs/iot-cert-trust-list`.",
        table(("verb", "prints lines of"), lines),
        *(_document(name, schema) for name, schema in DEFS.items()),
    )


def _document(name: str, schema: Schema) -> str:
    needed = set(schema.get("required", ()))
    lines = (
        (_code(key), _typed(item), "" if key in needed else "may be missing", item.get("description", ""))
        for key, item in schema["properties"].items()
    )
    return f"## {name}\n\n{schema['description']}\n\n{table(('key', 'holds', '', 'which is'), lines)}"


def _typed(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return f"[{name}](#{name})"
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    if "anyOf" in schema:
        return " or ".join(_typed(one) for one in schema["anyOf"])
    kind = str(schema["type"])
    if kind == "string" and "examples" in schema:
        return f"text, such as {', '.join(_code(word) for word in schema['examples'])}"
    if kind == "array" and "items" in schema:
        return f"list of {_typed(schema['items'])}"
    if kind == "object" and "properties" in schema:
        return "object with " + ", ".join(f"`{key}`" for key in schema["properties"])
    return {"date-time": "time"}.get(schema.get("format", ""), _KINDS.get(kind, kind))


_KINDS = {"string": "text", "integer": "whole number", "boolean": "true or false", "array": "list"}


# -- metrics -----------------------------------------------------------------------------------------------------------


def metrics() -> str:
    """Return the page of the metrics."""
    text = _full_text()
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, flags=re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (\S+) (.*)$", text, flags=re.MULTILINE))
    lines = ((_code(name), kinds[name], _labels(text, name), told) for name, told in helps.items())
    return page(
        "Metrics",
        "what the daemon writes",
        "`/run/iot-cert-agent/metrics.prom`, for the textfile collector of the node exporter; always whole. Instants "
        "are Unix seconds: `iot_cert_certificate_not_after_seconds - time()` is what is left.",
        table(("metric", "type", "labels", "which is"), lines),
    )


def _labels(text: str, name: str) -> str:
    found = re.search(rf"^{name}\{{(.*)\}} ", text, flags=re.MULTILINE)
    return ", ".join(_code(label) for label in re.findall(r'([a-z_0-9]+)="', found[1])) if found else ""


def _full_text() -> str:
    """Return the metrics of a gateway of which there is everything to tell."""
    end = WatchedEnd(subject="CN=app", sha256="ab" * 32, not_after=make.NOW)
    status = make.status(
        watched=(WatchedFile(path="/etc/app/ca.pem", warn=timedelta(days=30), certificates=1, ends=(end,)),),
        served=Served(generation=7, steps=(Step(name="nginx.service", problem="nginx.service is failed."),)),
        retiring=(Retiring(change="c-1", certificate_id="ab" * 32, due=make.NOW, waits_for=("nginx.service",)),),
    )
    return render(status, (make.finished(),))


# -- journal -----------------------------------------------------------------------------------------------------------


def journal() -> str:
    """Return the page of the journal's events and fields."""
    fields = ((_code(f"IOT_CERT_{name.upper()}"), told) for name, told in FIELDS.items())
    events = (
        (
            _code(event),
            _code(CATALOGUE[event].id),
            CATALOGUE[event].priority.name.lower(),
            CATALOGUE[event].title,
            ", ".join(_code(f"IOT_CERT_{name.upper()}") for name in SHOWN.get(event, ())),
        )
        for event in Event
    )
    return page(
        "Journal",
        "the catalogue of events",
        "`journalctl -x -u iot-cert-agent` shows below each message what to do. `journalctl MESSAGE_ID=...` finds one "
        "kind; numbers, names and priorities never change.",
        "## Fields",
        table(("field", "holds"), fields),
        "## Events",
        table(("event", "MESSAGE_ID", "priority", "title", "always with"), events),
    )


# -- files and units ---------------------------------------------------------------------------------------------------


def files(place: Path) -> str:
    """Return the page of files and units.

    Args:
        place: An empty directory, for a state directory to be made in.
    """
    state = (
        (_code(f"{STATE}/{entry.path}"), entry.mode or "link", told_of(entry))
        for entry in state_directory(place)
        if not entry.path.startswith(f"{BEFORE}/") or entry.path == f"{BEFORE}/"  # the files of one are enough
    )
    units = ((_code(path.name), *_unit(path)) for path in sorted(UNITS))
    return page(
        "Files and units",
        "the manual page, a state directory and the units",
        "## Files",
        table(("file", "which is"), _manual_files()),
        "## The state directory",
        table(("file", "mode", "which is"), state),
        "## Units",
        table(("unit", "which is", "runs as", "does"), units),
    )


def _manual_files() -> Iterator[tuple[str, str]]:
    """Yield what the manual page says of each file."""
    text = MANUAL.read_text().partition(".SH FILES\n")[2].partition(".SH ")[0]
    for entry in text.split(".TP\n")[1:]:
        head, _, rest = entry.partition("\n")
        names = re.sub(r"^\.I |\\f.", "", head).split(", ")
        folder = names[0].rsplit("/", 1)[0]
        paths = [name if name.startswith("/") else f"{folder}/{name}" for name in names]
        yield ", ".join(_code(path) for path in paths), " ".join(_plain(line) for line in rest.strip().splitlines())


def _plain(line: str) -> str:
    """Return a line of roff as Markdown: what is set in italics or bold there is code here."""
    request = re.match(r"\.(?:I|B|BR|IR) (\S+)(?: (.*))?$", line)
    if request:
        return f"{_code(request[1])}{(request[2] or '').strip()}"
    return re.sub(r"\\-", "-", line)


def _unit(path: Path) -> tuple[str, str, str]:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), allow_no_value=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    said: dict[str, Any] = {key: value for section in unit.sections() for key, value in unit[section].items()}
    listens = said.get("ListenStream") or said.get("ListenNetlink", "")
    runs = said.get("User") or ("root" if path.suffix == ".service" else "")
    return said["Description"], runs, f"listens on {_code(listens)}" if listens else _code(said["ExecStart"])
