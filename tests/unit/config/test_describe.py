"""What is written down of the table of keys: the JSON Schema, and the keys in the manual page."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from agent.config import describe
from agent.config.describe import rows
from agent.config.reader import parse
from agent.config.schema import FILE
from agent.errors import ConfigError
from support.documents.json_schema import fits

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config" / "config.yaml"
SCHEMA = ROOT / "config" / "config.schema.json"
PAGE = ROOT / "packaging" / "man" / "iot-cert-agent.yaml.5"

MINIMUM = "endpoint: x.example\n"


class _Editor(yaml.SafeLoader):
    """Reads YAML as editors do, by version 1.2: `yes` and `02:00` are texts."""


_Editor.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
):
    _Editor.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def accepted(text: str) -> bool:
    """Whether an editor that has the schema finds nothing wrong with a configuration."""
    return fits(json.loads(SCHEMA.read_text()), yaml.load(text, Loader=_Editor))  # noqa: S506 - a safe one


def understood(text: str) -> bool:
    """Whether the reader takes a configuration."""
    try:
        parse(text, Path("config.yaml"))
    except ConfigError:
        return False
    return True


def test_the_schema_is_the_tables() -> None:
    """`make configuration` writes it anew."""
    assert json.loads(SCHEMA.read_text()) == describe.json_schema()


def test_the_manual_page_has_the_tables_keys() -> None:
    """Between its two marks; `make configuration` writes them anew."""
    assert PAGE.read_text() == describe.with_manual(PAGE.read_text())
    for name, _, _ in rows(FILE):
        assert f"\n.B {name}\n" in PAGE.read_text().replace("\\-", "-")


def test_a_reader_of_manuals_takes_the_page() -> None:
    """Without a warning, and with what a key takes, what holds without it, and what it is for."""
    groff = ["groff", "-man", "-Tutf8", "-ww", "-rLL=200n"]
    done = subprocess.run(groff, input=PAGE.read_bytes(), capture_output=True, check=True)
    assert done.stderr == b""
    shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout.decode()).replace("\N{HYPHEN}", "-")
    assert "(1 to 1000; default 4) Certificates asked for in 24 hours." in re.sub(r"\s+", " ", shown)


@pytest.mark.parametrize("path", [EXAMPLE, *sorted((ROOT / "config" / "examples").glob("*/agent.yaml"))], ids=str)
def test_the_schema_accepts_what_is_shipped(path: Path) -> None:
    """The example as it is, and with what the other examples add."""
    assert accepted(EXAMPLE.read_text() + (path.read_text() if path != EXAMPLE else ""))


CLAIM = "claim: {certificate: /c, key: /k}"
BOUGHT = "url: 'https://x.example:8443/v1/a', token: {file: /t}, parameters: {SerialNumber: '1'}"
HOURS = 'from: "02:00", to: "04:30"'


@pytest.mark.parametrize(
    "text",
    [
        "port: 443",
        "port:",
        "alpn: true",
        "proxy: {host: p, port: 3128}",
        "proxy: {host: 'fd00::1', port: 3128, user: gateway, password_file: /p}",
        "trust: {warn: [7d, 30d], root: /root.json, target: a/b.pem, compatible: gateway-2}",
        "watch: [{path: /x, warn: 90d}]",
        'copies: [{to: /x, content: key+certificate, format: pkcs12, password_file: /p, mode: "0640"}]',
        "hooks: {directory: /h, timeout: 5s, user: app, on_failure: rollback}",
        "dependants: [{unit: a@b.service, action: reload, verify: {tls: '[::1]:8883', command: [/bin/x, y]}}]",
        "key: {algorithm: rsa-4096, subject: CN=x}",
        "timeouts: {connect: 1m}",
        f"enrollment: {{template: t, {CLAIM}, parameters: {{A: x, B: {{file: /x}}}}}}",
        f"enrollment: {{method: vending-machine, {BOUGHT}, ca: /x}}",
        "rotation: {confirm: 30d, keep: 0, replaced_by_hand: restore, inhibit_file: /x}",
        f"rotation: {{maintenance: [{{{HOURS}, days: [sat], time_zone: Europe/Berlin}}]}}",
    ],
)
def test_the_schema_accepts_what_the_reader_takes(text: str) -> None:
    """One of each kind of value."""
    assert understood(MINIMUM + text)
    assert accepted(MINIMUM + text)


@pytest.mark.parametrize(
    "text",
    [
        "prot: 8883",
        "port: many",
        "port: 0",
        "port: 65536",
        "port: [8883]",
        "state_dir: var/lib",
        "thing_name: 42",
        "thing_name: gw/42",
        "alpn: maybe",
        "proxy: {host: p}",
        "rotation: {max_age: 1y}",
        "rotation: {max_age: 365}",
        "rotation: {daily_limit: 1001}",
        "rotation: soon",
        "rotation: {replaced_by_hand: keep}",
        "rotation: {maintenance: always}",
        'rotation: {maintenance: [{from: "2:00", to: "04:00"}]}',
        'rotation: {maintenance: [{from: "02:00"}]}',
        f"rotation: {{maintenance: [{{{HOURS}, days: [sunday]}}]}}",
        f"rotation: {{maintenance: [{{{HOURS}, days: []}}]}}",
        "key: {algorithm: dsa}",
        "enrollment: {template: t, claim: {certificate: /c}}",
        f"enrollment: {{template: t, {CLAIM}, url: 'http://x.example'}}",
        f"enrollment: {{template: t, {CLAIM}, token: /x}}",
        f"enrollment: {{template: 'a b', {CLAIM}}}",
        f"enrollment: {{template: t, {CLAIM}, method: by-hand}}",
        f"enrollment: {{template: t, {CLAIM}, parameters: {{A: {{file: x}}}}}}",
        f"enrollment: {{template: t, {CLAIM}, parameters: {{A: {{path: /x}}}}}}",
        f"enrollment: {{template: t, {CLAIM}, parameters: {{A: 7}}}}",
        "trust: {target: ../anchors.pem}",
        "trust: {warn: []}",
        "trust: {warn: 30d}",
        "trust: {warn: [soon]}",
        "watch: [{warn: 30d}]",
        "watch: /x",
        "copies: [{to: /x, content: everything}]",
        "copies: [{to: /x, content: key, mode: 640}]",
        "copies: [{to: /x, content: key, mode: '0888'}]",
        "copies: [{to: /x, content: key, owner: -x}]",
        'copies: [{to: "/x\\0y", content: key}]',
        "hooks: {user: Root}",
        "dependants: [{unit: x.target}]",
        "dependants: [{unit: x.service, verify: {tls: localhost}}]",
        "dependants: [{unit: x.service, verify: {command: [bin/x]}}]",
        "dependants: [{unit: x.service, verify: {command: []}}]",
        "dependants: [{unit: x.service, verify: {command: [/bin/x, '']}}]",
        "dependants: [{unit: x.service, verify: {command: /bin/true}}]",
    ],
)
def test_the_schema_rejects_what_the_reader_refuses(text: str) -> None:
    """By a value alone; what two keys say together is the reader's."""
    assert not understood(MINIMUM + text)
    assert not accepted(MINIMUM + text)


@pytest.mark.parametrize("text", ["", "port: 1\n", "endpoint:\n", "endpoint: https://x.example\n", "endpoint: x:1\n"])
def test_the_schema_wants_an_endpoint(text: str) -> None:
    """It is the one key that must be there."""
    assert not understood(text)
    assert not accepted(text)


def test_durations_are_spelled_in_the_largest_unit() -> None:
    """As a person would write them."""
    spans = [timedelta(), timedelta(seconds=90), timedelta(minutes=90), timedelta(hours=36), timedelta(days=365)]
    assert [describe.spelled(span) for span in spans] == ["0d", "90s", "90m", "36h", "365d"]
