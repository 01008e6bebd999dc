from __future__ import annotations

import os
import pickle
import zoneinfo
from dataclasses import replace
from datetime import date, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.config import files, reader, values
from agent.core.aws.endpoints import Proxy
from agent.core.dependants import (
    FORMATS,
    Content,
    Copy,
    Dependants,
    Format,
    GateCommands,
    Hooks,
    OnFailure,
    Signal,
    SignalName,
    Unit,
    UnitAction,
    Verification,
)
from agent.core.values import ByHand, KeyAlgorithm
from agent.core.when.maintenance import MaintenanceWindow
from agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

MINIMUM = "endpoint: a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com\n"

FULL = (
    MINIMUM
    + """\
port: 443
thing_name: gw-0042
client_id: "{thing}-agent"
state_dir: /var/lib/iot-cert-agent
runtime_dir: /run/iot-cert-agent
small_client_hello: true
vouched_clock: yes
proxy: {host: proxy.example, port: 3128}
trust:
  anchors: /usr/share/iot-cert-agent/amazon-roots.pem
  root: /etc/iot-cert-agent/root.json
  target: products/gateway/anchors.pem
  compatible: gateway-2
  inbox: /var/spool/anchors
  warn: [7d, 365d, 30d, 7d]
watch:
  - {path: /etc/application/server.pem}
  - {path: "/etc/application/roots.pem", warn: 90d}
key: {algorithm: ec-p384, subject: "CN=gw-0042,O=Example"}
timeouts: {connect: 90s, request: 45s}
enrollment:
  method: fleet-provisioning
  template: gateway
  parameters: {SerialNumber: "0042", Board: {file: /sys/class/dmi/id/product_serial}}
  claim: {certificate: /etc/iot-cert-agent/claim/certificate.pem, key: /etc/iot-cert-agent/claim/key.pem}
rotation:
  template: gateway-rotation
  max_age: 365d
  probation: 10m
  daily_limit: 4
  keep: 0
  retire: false
  grace: 14d
  inhibit_file: /run/gateway/busy
  replaced_by_hand: restore
  maintenance:
    - {from: "02:00", to: "04:00"}
    - {from: "22:30", to: "01:30", days: [fri, sat], time_zone: Europe/Berlin}
"""
)


BOUGHT = 'url: "https://[fd00::1]:8443/v1/certificates", token: {file: /t}, parameters: {SerialNumber: "0042"}'
# What is said of methods that are mixed, or lack something.
ENROLMENTS = {
    "claim: {certificate: /c, key: /k}": "template: it is required and missing",
    "method: by-hand": "method: one of fleet-provisioning, vending-machine is expected, not 'by-hand'",
    "method: vending-machine": "url: it is required and missing",
    'method: vending-machine, url: "https://x.example"': "token: it is required and missing",
    'method: vending-machine, url: "https://x.example/", token: {file: /t}': "parameters: it is required and missing",
    f"method: vending-machine, {BOUGHT}, template: gw": "template: nothing, with `method: vending-machine`, is",
    f"method: vending-machine, {BOUGHT}, client_id: x": "client_id: nothing, with",
    f"method: vending-machine, {BOUGHT}, claim: {{certificate: /c, key: /k}}": "claim: nothing, with",
    f"method: vending-machine, {BOUGHT[:-1]}, Board: x}}": "parameters: SerialNumber, and nothing besides, is expected",
    "template: gw, claim: {certificate: /c, key: /k}, ca: /x": "ca: nothing, with `method: fleet-provisioning`, is",
    **{
        f'method: vending-machine, url: "{url}", token: {{file: /t}}': "url: a URL that begins with https:// and names"
        for url in (
            "http://x.example/", "https://", "https:///v1", "https://x.example:0/", "https://x.example:70000/",
            "https://user@x.example/", "https://x.example/?token=1", "https://x.example/#a", "https://x example/", "x",
        )
    },
}  # fmt: skip


def write(tmp_path: Path, text: str | bytes) -> Path:
    """Write a configuration file."""
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def complaint(tmp_path: Path, text: str | bytes) -> str:
    """Return what is said about a configuration that is refused."""
    with pytest.raises(ConfigError) as caught:
        reader.load(write(tmp_path, text))
    return str(caught.value)


def test_an_endpoint_is_all_that_must_be_said(tmp_path: Path) -> None:
    """Everything but the endpoint has a default."""
    loaded = reader.load(write(tmp_path, MINIMUM))
    assert loaded.port == 8883
    assert loaded.alpn is False
    assert loaded.rotation.max_age == timedelta(days=365)
    assert loaded.rotation.daily_limit == 4
    assert loaded.state_dir == Path("/var/lib/iot-cert-agent")
    assert loaded.enrollment is None


def test_a_vending_machine_has_its_own_keys(tmp_path: Path) -> None:
    """And a claim has none of them."""
    loaded = reader.load(write(tmp_path, f"{MINIMUM}enrollment: {{method: vending-machine, {BOUGHT}}}\n")).enrollment
    assert loaded is not None
    assert (loaded.method, loaded.claim) == (values.Method.VENDING_MACHINE, None)
    assert loaded.url == "https://[fd00::1]:8443/v1/certificates"
    assert loaded.token == values.FileValue(path=Path("/t"))
    assert loaded.files == (Path("/t"),)


def test_every_key_is_understood(tmp_path: Path) -> None:
    """A file that uses every key comes out as written."""
    loaded = reader.load(write(tmp_path, FULL))
    assert loaded.alpn is True
    assert loaded.key_algorithm is KeyAlgorithm.EC_P384
    assert loaded.subject == "CN=gw-0042,O=Example"
    assert loaded.proxy == Proxy(host="proxy.example", port=3128)
    assert loaded.vouched_clock is True
    assert loaded.connect_timeout == timedelta(seconds=90)
    assert loaded.enrollment is not None
    assert loaded.enrollment.parameters["SerialNumber"] == "0042"
    assert loaded.enrollment.parameters["Board"] == values.FileValue(path=Path("/sys/class/dmi/id/product_serial"))
    assert loaded.rotation.keep == 0
    assert loaded.rotation.grace == timedelta(days=14)
    assert loaded.rotation.retire is False
    assert loaded.rotation.inhibit_file == Path("/run/gateway/busy")
    assert loaded.rotation.by_hand is ByHand.RESTORE
    assert loaded.rotation.maintenance == (
        MaintenanceWindow(start=time(2), end=time(4)),
        MaintenanceWindow(
            start=time(22, 30), end=time(1, 30), days=frozenset({4, 5}), zone=zoneinfo.ZoneInfo("Europe/Berlin")
        ),
    )


def test_a_new_set_needs_no_word_unless_that_is_configured(tmp_path: Path) -> None:
    """And then for as long as it says, in a directory beside the control socket."""
    plain = reader.load(write(tmp_path, MINIMUM))
    assert (plain.rotation.confirm, plain.limits.confirm) == (None, None)
    assert plain.confirm_dir == Path("/run/iot-cert-agent/confirm")
    asked = reader.load(write(tmp_path, MINIMUM + "rotation: {confirm: 30d}\nruntime_dir: /run/gw\n"))
    assert asked.limits.confirm == timedelta(days=30)
    assert asked.confirm_dir == Path("/run/gw/confirm")


def test_nothing_holds_a_change_unless_it_is_configured(tmp_path: Path) -> None:
    """By default every hour is welcome, no file is looked for, and what was replaced by hand is taken up."""
    rotation = reader.load(write(tmp_path, MINIMUM)).rotation

    assert (rotation.maintenance, rotation.inhibit_file) == ((), None)
    assert (rotation.grace, rotation.by_hand, rotation.retire) == (timedelta(days=7), ByHand.ADOPT, True)
    empty = reader.load(write(tmp_path, MINIMUM + "rotation: {maintenance: [], inhibit_file: }\n")).rotation
    assert empty == rotation


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ('{from: "00:00", to: "00:00"}', MaintenanceWindow(start=time(), end=time())),
        ('{from: "23:59", to: "00:01"}', MaintenanceWindow(start=time(23, 59), end=time(0, 1))),
        ("{from: 02:00, to: 09:30}", MaintenanceWindow(start=time(2), end=time(9, 30))),
        (
            '{from: "02:00", to: "04:00", days: [sun, sun, mon]}',
            MaintenanceWindow(start=time(2), end=time(4), days=frozenset({0, 6})),
        ),
        ('{from: "02:00", to: "04:00", time_zone: UTC}', MaintenanceWindow(start=time(2), end=time(4))),
        ('{from: "02:00", to: "04:00", days: , time_zone: }', MaintenanceWindow(start=time(2), end=time(4))),
    ],
)
def test_a_maintenance_window_needs_no_more_than_its_hours(
    tmp_path: Path, text: str, window: MaintenanceWindow
) -> None:
    """Days and zone have defaults; an end that is not after the start is on the next day."""
    (found,) = reader.load(write(tmp_path, f"{MINIMUM}rotation:\n  maintenance:\n    - {text}\n")).rotation.maintenance

    assert (found.start, found.end, found.days) == (window.start, window.end, window.days)
    assert str(found.zone) == "UTC"


@pytest.mark.parametrize("grace", ["0s", "36h", "90d"])
def test_the_grace_may_be_any_span(tmp_path: Path, grace: str) -> None:
    """Also none at all."""
    rotation = reader.load(write(tmp_path, f"{MINIMUM}rotation: {{grace: {grace}}}\n")).rotation

    assert rotation.grace == {"0s": timedelta(), "36h": timedelta(hours=36), "90d": timedelta(days=90)}[grace]


WINDOW_HOURS = 'from: "02:00"\n      to: "04:00"'


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        (3, "  retire: never", "rotation.retire: true or false is expected, not 'never'"),
        (3, "  grace: 7", "rotation.grace: a duration such as 90s, 10m, 12h or 365d is expected, not '7'"),
        (3, "  grace: [7d]", "rotation.grace: a duration such as 90s, 10m, 12h or 365d is expected"),
        (3, "  confirm: 0s", "rotation.confirm: a duration from 1s to 30d is expected, not '0s'"),
        (3, "  confirm: 31d", "rotation.confirm: a duration from 1s to 30d is expected, not '31d'"),
        (3, "  confirm: yes", "rotation.confirm: a duration such as 90s, 10m, 12h or 365d is expected"),
        (3, "  inhibit_file: run/busy", "rotation.inhibit_file: an absolute path is expected, not 'run/busy'"),
        (3, "  inhibit_file: 7", "rotation.inhibit_file: an absolute path (put it in quotes) is expected, not '7'"),
        (3, "  inhibit_file: [/run/busy]", "rotation.inhibit_file: an absolute path is expected"),
        (3, "  replaced_by_hand: keep", "rotation.replaced_by_hand: one of adopt, restore is expected, not 'keep'"),
        (3, "  replaced_by_hand: yes", "rotation.replaced_by_hand: one of adopt, restore is expected"),
        (3, "  by_hand: adopt", "rotation.by_hand: there is no such key"),
        (3, "  maintenence: []", "rotation.maintenence: there is no such key; `maintenance` was probably meant"),
        (3, "  maintenance: always", "rotation.maintenance: a list (`- ` lines) is expected, not 'always'"),
        (3, '  maintenance: {from: "02:00"}', "rotation.maintenance: a list (`- ` lines) is expected"),
        (
            4,
            '  maintenance:\n    - from: "2:00"\n      to: "04:00"',
            "rotation.maintenance[0].from: a time of day such as \"02:30\" is expected, not '2:00'",
        ),
        (
            5,
            '  maintenance:\n    - from: "02:00"\n      to: 14:30',
            "rotation.maintenance[0].to: a time of day such as \"02:30\" (put it in quotes) is expected, not '14:30'",
        ),
        (
            5,
            '  maintenance:\n    - from: "02:00"\n      to: "24:00"',
            "rotation.maintenance[0].to: a time of day such as \"02:30\" is expected, not '24:00'",
        ),
        (
            4,
            '  maintenance:\n    - from: "02:00:00"\n      to: "04:00"',
            'rotation.maintenance[0].from: a time of day such as "02:30" is expected',
        ),
        (
            6,
            f"  maintenance:\n    - {WINDOW_HOURS}\n      days: sun",
            "rotation.maintenance[0].days: a list of mon, tue, wed, thu, fri, sat, sun is expected, not 'sun'",
        ),
        (6, f"  maintenance:\n    - {WINDOW_HOURS}\n      days: []", "rotation.maintenance[0].days: a list of mon,"),
        (6, f"  maintenance:\n    - {WINDOW_HOURS}\n      days: [sunday]", "rotation.maintenance[0].days: a list of"),
        (6, f"  maintenance:\n    - {WINDOW_HOURS}\n      days: [[sun]]", "rotation.maintenance[0].days: a list of"),
        (6, f"  maintenance:\n    - {WINDOW_HOURS}\n      days: [6]", "rotation.maintenance[0].days: a list of"),
        (
            6,
            f"  maintenance:\n    - {WINDOW_HOURS}\n      time_zone: ../../etc/passwd",
            "rotation.maintenance[0].time_zone: a time zone such as Europe/Berlin is expected",
        ),
        (
            6,
            f"  maintenance:\n    - {WINDOW_HOURS}\n      time_zone: 2",
            "rotation.maintenance[0].time_zone: a time zone such as Europe/Berlin (put it in quotes) is expected",
        ),
        (
            6,
            f"  maintenance:\n    - {WINDOW_HOURS}\n      zone: UTC",
            "rotation.maintenance[0].zone: there is no such key",
        ),
    ],
)
def test_a_wrong_value_of_a_hold_names_line_key_and_expectation(
    tmp_path: Path, line: int, text: str, expected: str
) -> None:
    """Below `rotation:`, which is the second line of the file."""
    said = complaint(tmp_path, f"{MINIMUM}rotation:\n{text}\n")

    assert said.startswith(f"{tmp_path / 'config.yaml'}:{line}: {expected}")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["Europe/Atlantis", "Europe", "x" * 300])
def test_a_time_zone_that_this_machine_does_not_have_is_said_and_stops_nothing(tmp_path: Path, name: str) -> None:
    """An update of the system may have taken it away; its hours are UTC's meanwhile, also once read by a child."""
    hours = 'from: "02:00", to: "04:00"'
    loaded = reader.load(write(tmp_path, f"{MINIMUM}rotation: {{maintenance: [{{{hours}, time_zone: {name}}}]}}\n"))
    assert loaded.missing_zones == (f"This machine has no time zone {name!r}: its hours are taken as UTC.",)
    window, sunday = loaded.rotation.maintenance[0], date(2027, 3, 28)
    assert window.occurrence(sunday) == MaintenanceWindow(start=window.start, end=window.end).occurrence(sunday)
    assert pickle.loads(pickle.dumps(loaded)) == loaded  # noqa: S301 - of this very line


def test_a_maintenance_window_without_its_hours_is_refused(tmp_path: Path) -> None:
    """Both are named, and so is which window it is."""
    said = complaint(tmp_path, MINIMUM + 'rotation: {maintenance: [{from: "02:00", to: "04:00"}, {days: [sun]}]}\n')

    assert [line.split(": ", maxsplit=1)[1] for line in said.splitlines()] == [
        "rotation.maintenance[1].from: it is required and missing",
        "rotation.maintenance[1].to: it is required and missing",
    ]


def test_every_complaint_about_windows_comes_at_once(tmp_path: Path) -> None:
    """Each wrong value in each window has its line."""
    text = 'rotation: {maintenance: [{from: 1, to: "x", days: y, time_zone: /z}], grace: g, replaced_by_hand: h}\n'

    assert len(complaint(tmp_path, MINIMUM + text).splitlines()) == 6


@pytest.mark.parametrize("item", ["night", "7", '["02:00", "04:00"]'])
def test_a_maintenance_window_that_is_no_mapping_is_told_first(tmp_path: Path, item: str) -> None:
    """Then what a mapping would have to hold."""
    said = complaint(tmp_path, f"{MINIMUM}rotation:\n  maintenance:\n    - {item}\n").splitlines()

    assert said[0].startswith(f"{tmp_path / 'config.yaml'}:4: rotation.maintenance[0]: a mapping (`key: value` lines)")
    assert [line.rsplit(": ", maxsplit=2)[1] for line in said[1:]] == [
        "rotation.maintenance[0].from",
        "rotation.maintenance[0].to",
    ]


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        (2, "prot: 8883", "prot: there is no such key; `port` was probably meant"),
        (2, "port: many", "port: a whole number from 1 to 65535 is expected, not 'many'"),
        (2, "port: 0", "port: a whole number from 1 to 65535 is expected"),
        (2, "port: 65536", "port: a whole number from 1 to 65535 is expected"),
        (2, "port: -1", "port: a whole number from 1 to 65535 is expected"),
        (2, "port: 0x1f", "port: a whole number"),
        (2, "port: 99999999999999999999999999", "port: a whole number"),
        (2, "port: [8883]", "port: a whole number from 1 to 65535 is expected, not 'a nested value'"),
        (2, "state_dir: var/lib", "state_dir: an absolute path is expected, not 'var/lib'"),
        (2, "thing_name: 0042", "thing_name: a thing name of letters, digits and `:_-` (put it in quotes) is expected"),
        (2, "thing_name: gw/42", "thing_name: a thing name of letters, digits and `:_-` is expected"),
        (2, "alpn: maybe", "alpn: true or false is expected, not 'maybe'"),
        (2, "rotation: {max_age: 1y}", "rotation.max_age: a duration such as 90s, 10m, 12h or 365d is expected"),
        (2, "rotation: {max_age: 365}", "rotation.max_age: a duration"),
        (2, "rotation: {max_age: -1d}", "rotation.max_age: a duration"),
        (2, "rotation: {max_age: 99999999d}", "rotation.max_age: a duration"),
        (2, "rotation: {daily_limit: 0}", "rotation.daily_limit: a whole number from 1 to 1000"),
        (2, "rotation: soon", "rotation: a mapping (`key: value` lines) is expected, not 'soon'"),
        (2, "rotation: {limit: 4}", "rotation.limit: there is no such key"),
        (2, "key: {algorithm: dsa}", "key.algorithm: one of ec-p256, ec-p384, rsa-2048, rsa-3072, rsa-4096"),
        (2, "port: 1\nport: 2", "port: it stands here twice"),
        (2, "enrollment: {template: 'a b', claim: {certificate: /c, key: /k}}", "enrollment.template: a template name"),
        (
            2,
            "enrollment: {template: gw, claim: {certificate: c, key: /k}}",
            "enrollment.claim.certificate: an absolute",
        ),
        (2, "trust: {anchors: 7}", "trust.anchors: an absolute path (put it in quotes) is expected"),
        (2, "trust: {root: root.json}", "trust.root: an absolute path"),
        (2, "trust: {inbox: inbox}", "trust.inbox: an absolute path"),
        (2, "trust: {target: /anchors.pem}", "trust.target: a target's name, without a leading slash or dots"),
        (2, "trust: {target: ../anchors.pem}", "trust.target: a target's name"),
        (2, "trust: {target: a/b/c/d/e/f}", "trust.target: a target's name"),
        (2, "trust: {target: a//b}", "trust.target: a target's name"),
        (2, "trust: {compatible: a b}", "trust.compatible: a product's name of letters, digits and `._-`"),
        (2, "trust: {warn: 30d}", "trust.warn: a list of durations such as [180d, 30d]"),
        (2, "trust: {warn: []}", "trust.warn: a list of durations"),
        (2, "trust: {warn: [30d, soon]}", "trust.warn: a list of durations"),
        (2, "trust: {warn: [30]}", "trust.warn: a list of durations"),
        (2, "trust: {warn: [[30d]]}", "trust.warn: a list of durations"),
        (2, "trust: {bundle: x}", "trust.bundle: there is no such key"),
        (2, "watch: [{path: server.pem}]", "path: an absolute path"),
        (2, "notices: {command: /bin/tell}", "command: a list such as"),
        (2, "notices: {command: [tell]}", "command: a list such as"),
        (2, "notices: {mail: op}", "mail: there is no such key"),
        (2, "watch: [{path: /x, warn: soon}]", "warn: a duration"),
        (2, "watch: [{path: /x, every: 1d}]", "every: there is no such key"),
        (2, "watch: [/x]", "watch"),
        (2, "watch: /x", "watch"),
        (1, "? [1, 2]\n: 3", "there is no such key"),
    ],
)
def test_a_wrong_value_names_file_line_key_and_expectation(tmp_path: Path, line: int, text: str, expected: str) -> None:
    """Every complaint says where it is and what is expected instead."""
    said = complaint(tmp_path, MINIMUM + text + "\n")
    assert expected in said
    assert str(tmp_path / "config.yaml") in said
    assert any(f"config.yaml:{number}: " in said for number in (line, line + 1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a mapping"),
        ("- endpoint\n", "a mapping"),
        ("just text", "a mapping"),
        ("port: 8883\n", "endpoint: it is required and missing"),
        ("endpoint: [\n", "it is not sound YAML"),
        ("endpoint: 'x\n", "it is not sound YAML"),
        ("endpoint: &a [*a]\n", "endpoint: the account's ATS endpoint"),
        (b"endpoint: \xff\xfe\n", "it is not UTF-8 text"),
        (b"endpoint: a\x00b\n", "it is no text: there is a NUL in it"),
        ("[" * 30_000, "it is not sound YAML"),
        ("endpoint: https://x.example/\n", "endpoint: a host name without scheme, port or path is expected"),
        ("endpoint: x.example:8883\n", "endpoint: a host name without scheme, port or path is expected"),
        ("enrollment: {template: gw}\nendpoint: x.example\n", "enrollment.claim: it is required and missing"),
        ("a: &x {b: *x}\nendpoint: x.example\n", "there is no such key"),
        *(
            (f"endpoint: x.example\nenrollment: {{{text}}}\n", f"enrollment.{expected}")
            for text, expected in ENROLMENTS.items()
        ),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_in_a_sentence(
    tmp_path: Path, text: str | bytes, expected: str
) -> None:
    """Whatever the file holds, what comes out is a ConfigError."""
    assert expected in complaint(tmp_path, text)


@pytest.mark.parametrize(
    "text", ["[" * 3600, "a: " + "{a: " * 900, "- " * 1800, "? " * 1800, "endpoint: " + "[" * 60000]
)
def test_what_is_nested_without_end_is_refused_before_it_is_composed(tmp_path: Path, text: str) -> None:
    """Few bytes must not cost seconds: no more tokens are looked at than are refused."""
    with pytest.raises(ConfigError, match=r"config.yaml:[12]: .* nested more than 20 deep"):
        reader.parse(text, tmp_path / "config.yaml")


def test_the_legacy_endpoint_is_refused_with_the_name_to_use(tmp_path: Path) -> None:
    """An operator who still has the VeriSign endpoint learns the ATS name."""
    said = complaint(tmp_path, "endpoint: a1b2c3d4e5f6g7.iot.eu-west-1.amazonaws.com\n")
    assert "use a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com" in said


def test_all_complaints_come_at_once(tmp_path: Path) -> None:
    """No operator has to fix a file line by line."""
    said = complaint(tmp_path, "port: x\nthing: y\nrotation: {probation: z}\n")
    assert len(said.splitlines()) == 4


def test_a_key_that_is_misspelt_is_told_before_the_one_that_is_missing(tmp_path: Path) -> None:
    """It is the cause of it; what reads the first complaint alone is led to the line."""
    first, second = complaint(tmp_path, "port: 8883\nendpiont: x.example\n").splitlines()
    assert first.endswith(":2: endpiont: there is no such key; `endpoint` was probably meant")
    assert second.endswith("endpoint: it is required and missing")


def test_a_file_of_ten_megabytes_is_refused_unread(tmp_path: Path) -> None:
    """A size limit stands before the parser."""
    assert "larger than the 64 KiB allowed" in complaint(tmp_path, b"# " + b"x" * 10_000_000)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A missing configuration is a configuration error."""
    with pytest.raises(ConfigError, match=r"no\.yaml: the configuration file cannot be read: No such file"):
        reader.load(tmp_path / "no.yaml")


def test_a_pipe_in_place_of_the_file_does_not_hang(tmp_path: Path) -> None:
    """Only regular files are read."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        reader.load(tmp_path / "pipe")


def test_a_directory_in_place_of_the_file_is_told_and_not_left_open(tmp_path: Path) -> None:
    """A daemon may read its configuration anew many times before it is mended."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ConfigError, match="not a regular file"):
        reader.load(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_key_that_others_may_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    """The mode of a secret is checked, and the remedy is exact."""
    path = tmp_path / "key.pem"
    path.write_bytes(b"secret")
    path.chmod(0o640)
    with pytest.raises(ConfigError) as caught:
        files.read_secret(path, "claim key")
    assert caught.value.hint == f"chmod 600 {path}"
    path.chmod(0o600)
    assert files.read_secret(path, "claim key") == b"secret"


def test_parameters_may_come_from_files(tmp_path: Path) -> None:
    """A serial number is read where the machine keeps it, without the white space around it."""
    serial = tmp_path / "serial"
    serial.write_text(" 0042\n")
    assert files.resolve({"A": "x", "B": values.FileValue(path=serial)}) == {"A": "x", "B": "0042"}
    serial.write_text("\n")
    with pytest.raises(ConfigError, match="holds no plain text"):
        files.resolve({"B": values.FileValue(path=serial)})


@pytest.mark.parametrize("encode", [lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode("utf-16")])
def test_a_file_written_on_windows_is_read(tmp_path: Path, encode: Callable[[str], bytes]) -> None:
    """With a mark before it, or in UTF-16."""
    path = tmp_path / "config.yaml"
    path.write_bytes(encode(FULL.replace("\n", "\r\n")))
    assert replace(reader.load(path), source="") == replace(reader.load(write(tmp_path, FULL)), source="")


# -- trust anchors and watched files -----------------------------------------------------------------------------------


def test_trust_and_watched_files_are_understood(tmp_path: Path) -> None:
    """The distances come out with the longest first, and each once."""
    loaded = reader.load(write(tmp_path, FULL))

    assert loaded.trust == values.TrustConfig(
        anchors=Path("/usr/share/iot-cert-agent/amazon-roots.pem"),
        root=Path("/etc/iot-cert-agent/root.json"),
        target="products/gateway/anchors.pem",
        compatible="gateway-2",
        inbox=Path("/var/spool/anchors"),
        warn=(timedelta(days=365), timedelta(days=30), timedelta(days=7)),
    )
    assert loaded.watch == (
        values.WatchConfig(path=Path("/etc/application/server.pem"), warn=timedelta(days=30)),
        values.WatchConfig(path=Path("/etc/application/roots.pem"), warn=timedelta(days=90)),
    )
    assert (loaded.anchors, loaded.inbox) == (loaded.trust.anchors, Path("/var/spool/anchors"))


def test_without_a_word_about_trust_no_signed_bundle_is_accepted(tmp_path: Path) -> None:
    """There is a baked copy, an inbox in the state directory, three distances, and no signer."""
    loaded = reader.load(write(tmp_path, MINIMUM + "state_dir: /srv/agent\n"))

    assert (loaded.trust.root, loaded.trust.compatible, loaded.trust.target) == (None, None, "anchors.pem")
    assert loaded.inbox == Path("/srv/agent/inbox")
    assert [span.days for span in loaded.trust.warn] == [180, 30, 7]
    assert loaded.watch == ()


def test_a_watched_file_needs_a_path(tmp_path: Path) -> None:
    """The complaint counts from nought, as the list does."""
    said = complaint(tmp_path, MINIMUM + "watch: [{path: /x}, {warn: 30d}]\n")

    assert "watch[1].path: it is required and missing" in said


# -- dependants --------------------------------------------------------------------------------------------------------

DEPENDANTS = """\
copies:
  - to: /etc/mosquitto/certs/gateway.pem
    content: key+certificate
    format: pkcs12
    owner: mosquitto
    group: ssl-cert
    mode: "0640"
    password_file: /etc/app/store.password
    heal: false
    on_failure: rollback
  - {to: /etc/app/key.der, content: key, format: der}
hooks: {directory: /etc/hooks, timeout: 90s, user: app, on_failure: rollback}
dependants:
  - unit: mosquitto@a-1.service
    action: restart
    timeout: 2m
    healthy: 10s
    verify: {tls: "127.0.0.1:8884", command: [/usr/bin/test, -e, "a b"], new_process: true}
    on_failure: rollback
  - unit: nginx.service
signals:
  - {pid_file: /run/haproxy.pid, process: haproxy, signal: USR2}
  - {pid_file: /run/app.pid, process: app}
gates: {directory: /etc/gates, timeout: 5s, user: app, patience: 2h}
deploy_dir: /srv/deploy
deploy_socket: /run/deploy
"""


def copies(entry: str) -> str:
    """Return a configuration with one copy."""
    return f"{MINIMUM}copies: [{{to: /x, content: chain, {entry}}}]\n"


def unit(name: str, more: str = "") -> str:
    """Return a configuration with one unit, whose name is a text of YAML's."""
    return f"{MINIMUM}dependants: [{{unit: {name}{more}}}]\n"


def test_dependants_are_understood(tmp_path: Path) -> None:
    """With every key that there is, and with those alone that there must be."""
    loaded = reader.load(write(tmp_path, MINIMUM + DEPENDANTS))

    assert loaded.dependants == Dependants(
        copies=(
            Copy(
                to=Path("/etc/mosquitto/certs/gateway.pem"),
                content=Content.PAIR,
                format=Format.PKCS12,
                owner="mosquitto",
                group="ssl-cert",
                mode=0o640,
                password_file=Path("/etc/app/store.password"),
                heal=False,
                on_failure=OnFailure.ROLL_BACK,
            ),
            Copy(to=Path("/etc/app/key.der"), content=Content.KEY, format=Format.DER),
        ),
        hooks=Hooks(
            directory=Path("/etc/hooks"), timeout=timedelta(seconds=90), user="app", on_failure=OnFailure.ROLL_BACK
        ),
        units=(
            Unit(
                name="mosquitto@a-1.service",
                action=UnitAction.RESTART,
                timeout=timedelta(minutes=2),
                healthy=timedelta(seconds=10),
                verify=Verification(tls="127.0.0.1:8884", command=("/usr/bin/test", "-e", "a b"), new_process=True),
                on_failure=OnFailure.ROLL_BACK,
            ),
            Unit(name="nginx.service"),
        ),
        signals=(
            Signal(pid_file=Path("/run/haproxy.pid"), process="haproxy", signal=SignalName.USR2),
            Signal(pid_file=Path("/run/app.pid"), process="app"),
        ),
        gates=GateCommands(
            directory=Path("/etc/gates"), timeout=timedelta(seconds=5), user="app", patience=timedelta(hours=2)
        ),
    )
    assert loaded.limits.gates_patience == timedelta(hours=2)
    assert (loaded.deploy_dir, loaded.deploy_socket) == (Path("/srv/deploy"), Path("/run/deploy"))


def test_without_a_word_there_are_no_dependants_but_hooks_are_looked_for(tmp_path: Path) -> None:
    """A key is for its owner alone unless it is said otherwise, and nothing takes a change back by itself."""
    loaded = reader.load(write(tmp_path, MINIMUM))

    gates, hooks = Path("/etc/iot-cert-agent/gates.d"), Path("/etc/iot-cert-agent/hooks.d")
    assert loaded.dependants == Dependants(hooks=Hooks(directory=hooks), gates=GateCommands(directory=gates))
    assert loaded.deploy_dir == Path("/var/lib/iot-cert-agent-deploy")
    assert loaded.deploy_socket == Path("/run/iot-cert-agent-deploy.sock")
    copy = reader.load(write(tmp_path, MINIMUM + "copies: [{to: /x, content: key}]\n")).dependants.copies[0]
    assert (copy.owner, copy.group, copy.mode, copy.format) == ("root", "root", 0o600, Format.PEM)
    assert (copy.heal, copy.on_failure) == (True, OnFailure.DEGRADE)


@pytest.mark.parametrize(
    "name",
    [
        "mosquitto.service", "a.service", "getty@tty1.service", "a:b_c-d.e@f.service", "dbus-org.x\\x2dy.service",
        "9.service", f"{'x' * 201}.service",
    ],
)  # fmt: skip
def test_the_names_of_services_are_taken(tmp_path: Path, name: str) -> None:
    """As systemd has them."""
    assert reader.load(write(tmp_path, unit(f"'{name}'"))).dependants.units[0].name == name


@pytest.mark.parametrize(
    "name",
    [
        '"../x.service"', '"a/b.service"', '"/etc/x.service"', '"-x.service"', '"--now.service"', '"a b.service"',
        '"x.target"', '"x.socket"', '"x"', '"x.service.d"', '".service"', '"@x.service"', '"x.service\\n"',
        '"x\\n.service"', '"x;y.service"', '"x%n.service"', '"$x.service"', '"`x`.service"', '"x*.service"',
        '"\\u00e4.service"', '"x\\0.service"', '"x.service,y.service"', f'"{"x" * 202}.service"', '""', "7",
        "[x.service]",
    ],
)  # fmt: skip
def test_a_name_that_no_service_has_is_refused(tmp_path: Path, name: str) -> None:
    """It goes onto a command line of root's: nothing in it means anything but itself."""
    said = complaint(tmp_path, unit(name))
    assert "dependants[0].unit: a service's name with its suffix, such as mosquitto.service," in said


@pytest.mark.parametrize(
    "name", ["iot-cert-agent.service", "iot-cert-agent-deploy.service", "iot-cert-agent@x.service"]
)
def test_the_agent_is_not_its_own_dependant(tmp_path: Path, name: str) -> None:
    """It would end itself in the middle of a change."""
    assert "dependants[0].unit: another unit than the agent's own is expected" in complaint(
        tmp_path, unit(f"{name}.service")
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("action: stop", "action: one of reload, restart, reload-or-restart is expected, not 'stop'"),
        ("timeout: 60", "timeout: a duration such as"),
        ("healthy: soon", "healthy: a duration such as"),
        ("on_failure: ignore", "on_failure: one of degrade, rollback is expected"),
        ("verify: {tls: localhost}", "verify.tls: host:port is expected"),
        ("verify: {tls: 'https://x:1'}", "verify.tls: host:port is expected"),
        ("verify: {tls: 'x:123456'}", "verify.tls: host:port is expected"),
        ('verify: {tls: "x:1\\n"}', "verify.tls: host:port is expected"),
        ("verify: {tls: '::1:443'}", "verify.tls: host:port is expected"),
        ("verify: {command: /bin/true}", "verify.command: a list such as"),
        ("verify: {command: []}", "verify.command: a list such as"),
        ("verify: {command: [true]}", "verify.command: a list such as"),
        ("verify: {command: [/bin/x, '']}", "verify.command: a list such as"),
        ("verify: {command: [/bin/x, [y]]}", "verify.command: a list such as"),
        ("verify: {command: [bin/x]}", "verify.command: a list such as"),
        ("verify: {new_process: 1}", "verify.new_process: true or false is expected"),
        ("verify: {tsl: 'x:1'}", "verify.tsl: there is no such key; `tls` was probably meant"),
        ("restart: yes", "restart: there is no such key"),
    ],
)
def test_what_a_unit_cannot_be_is_refused(tmp_path: Path, more: str, said: str) -> None:
    """With its key and what is expected."""
    assert f"dependants[0].{said}" in complaint(tmp_path, unit("x.service", f", {more}"))


@pytest.mark.parametrize("address", ["localhost:8883", "127.0.0.1:1", "[::1]:8883", "a-b.example:65535"])
def test_addresses_are_taken(tmp_path: Path, address: str) -> None:
    """Of either kind, and by name."""
    loaded = reader.load(write(tmp_path, unit("x.service", f", verify: {{tls: '{address}'}}")))
    assert loaded.dependants.units[0].verify.tls == address


@pytest.mark.parametrize("content", list(Content))
@pytest.mark.parametrize("form", list(Format))
def test_a_format_holds_what_it_can(tmp_path: Path, content: Content, form: Format) -> None:
    """DER one object, PKCS #12 a pair or anchors, PEM anything."""
    text = f"{MINIMUM}copies: [{{to: /x, content: {content}, format: {form}, password_file: /p}}]\n"
    if content in FORMATS[form]:
        assert reader.load(write(tmp_path, text)).dependants.copies[0].format is form
    else:
        assert f"copies[0].format: one that can hold {content}: " in complaint(tmp_path, text)


def test_pkcs12_needs_a_password(tmp_path: Path) -> None:
    """There is no default for one."""
    text = f"{MINIMUM}copies: [{{to: /x, content: key+certificate, format: pkcs12}}]\n"
    assert "copies[0].password_file: it is required and missing" in complaint(tmp_path, text)


@pytest.mark.parametrize("mode", ["0640", "640", "0600", "400", "0444"])
def test_modes_are_taken(tmp_path: Path, mode: str) -> None:
    """As `chmod` has them, with or without a leading nought."""
    assert reader.load(write(tmp_path, copies(f'mode: "{mode}"'))).dependants.copies[0].mode == int(mode, 8)


@pytest.mark.parametrize(
    "mode", ["0640", "640", "'0o640'", "'4755'", "'04755'", "'1777'", "'648'", "'64'", "u=rw", "''"]
)
def test_a_mode_that_is_none_is_refused(tmp_path: Path, mode: str) -> None:
    """Without quotes it is a number, of which YAML makes another one; one that gives a user's rights away is none."""
    assert 'copies[0].mode: a file mode such as "0640", in quotes' in complaint(tmp_path, copies(f"mode: {mode}"))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("owner: 'a b'", "owner: a user's name is expected"),
        ("owner: 1000", "owner: a user's name"),
        ("owner: -x", "owner: a user's name is expected"),
        ("owner: 'x:y'", "owner: a user's name is expected"),
        ("group: ../x", "group: a group's name is expected"),
        ('group: "x\\n"', "group: a group's name is expected"),
        ("heal: never", "heal: true or false is expected"),
        ("password_file: store.password", "password_file: an absolute path is expected"),
        ("on_failure: ignore", "on_failure: one of degrade, rollback is expected"),
        ("passwordfile: /x", "passwordfile: there is no such key; `password_file` was probably meant"),
    ],
)
def test_what_a_copy_cannot_be_is_refused(tmp_path: Path, entry: str, said: str) -> None:
    """With its key and what is expected."""
    assert f"copies[0].{said}" in complaint(tmp_path, copies(entry))


@pytest.mark.parametrize("to", ["x", "./x", "~/x", "''", "7"])
def test_a_copy_needs_an_absolute_path(tmp_path: Path, to: str) -> None:
    """What it is relative to is not known."""
    said = complaint(tmp_path, f"{MINIMUM}copies: [{{to: {to}, content: key}}]\n")
    assert "copies[0].to: an absolute path" in said


def test_what_must_be_said_of_a_dependant(tmp_path: Path) -> None:
    """Each of it, at once."""
    said = complaint(tmp_path, f"{MINIMUM}copies: [{{}}, {{to: /x}}]\ndependants: [{{action: reload}}]\n")

    for key in ("copies[0].to", "copies[0].content", "copies[1].content", "dependants[0].unit"):
        assert f"{key}: it is required and missing" in said
    assert len(said.splitlines()) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("copies: [{to: /x, content: key}, {to: /x, content: chain}]", "copies: each one once"),
        ("copies: [{to: /x, content: key}, {to: /./x/, content: key}]", "copies: each one once"),
        ("dependants: [{unit: x.service}, {unit: x.service, action: reload}]", "dependants: each one once"),
    ],
)
def test_each_dependant_is_named_once(tmp_path: Path, text: str, said: str) -> None:
    """Two that write to one place would do so in turn, for ever."""
    assert said in complaint(tmp_path, f"{MINIMUM}{text}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("copies: {to: /x}", "copies: a list (`- ` lines) is expected"),
        ("dependants: x.service", "dependants: a list (`- ` lines) is expected"),
        ("hooks: {directory: hooks.d}", "hooks.directory: an absolute path is expected"),
        ("hooks: {user: Root}", "hooks.user: a user's name is expected"),
        ("hooks: {timeout: never}", "hooks.timeout: a duration such as"),
        ("hooks: {on_failure: stop}", "hooks.on_failure: one of degrade, rollback is expected"),
        ("hooks: {dir: /x}", "hooks.dir: there is no such key"),
        ("deploy_dir: deploy", "deploy_dir: an absolute path is expected"),
        ("deploy_socket: socket", "deploy_socket: an absolute path is expected"),
    ],
)
def test_what_dependants_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """With its key and what is expected."""
    assert said in complaint(tmp_path, f"{MINIMUM}{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        'copies: [{to: "/x\\0y", content: key}]',
        'hooks: {directory: "/x\\0y"}',
        'dependants: [{unit: x.service, verify: {command: [/bin/x, "a\\0b"]}}]',
    ],
)
def test_what_no_path_and_no_argument_can_hold_is_refused(tmp_path: Path, text: str) -> None:
    """YAML can spell a null byte, and the kernel cannot be given one."""
    assert "is expected" in complaint(tmp_path, f"{MINIMUM}{text}\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host: http://proxy.example, port: 1", "proxy.host: a host name or an address, without scheme, port or path,"),
        ("host: 'proxy.example:3128', port: 1", "proxy.host: a host name or an address, without scheme"),
        ("host: 'fd00::1::2', port: 1", "proxy.host: a host name or an address, without scheme"),
        ("host: p, port: 1, username: x", "proxy.username: there is no such key"),
        ("host: p, port: 1, user: 'a:b'", "proxy.user: a name without a colon is expected"),
        ("host: p, port: 1, password_file: /x", "proxy.user: it is required and missing"),
        ("host: p, port: 1, user: x, password_file: x", "proxy.password_file: an absolute path is expected"),
    ],
)
def test_a_proxy_that_cannot_be_meant_is_complained_of(tmp_path: Path, text: str, expected: str) -> None:
    """And not looked up as a name, or asked without its password."""
    assert f": {expected}" in complaint(tmp_path, f"{MINIMUM}proxy: {{{text}}}\n")


@pytest.mark.parametrize(
    ("host", "bare"),
    [("fd00::1", "fd00::1"), ("[fd00::1]", "fd00::1"), ("192.0.2.1", "192.0.2.1"), ("proxy", "proxy")],
)
def test_a_proxy_may_be_an_address(tmp_path: Path, host: str, bare: str) -> None:
    """Of either family."""
    loaded = reader.parse(f"{MINIMUM}proxy: {{host: '{host}', port: 3128, user: x}}\n", tmp_path / "config.yaml")
    assert loaded.proxy == Proxy(host=bare, port=3128, user="x")


@pytest.mark.parametrize("text", ["0s", "9999999d", "2h"])
@pytest.mark.parametrize("name", ["connect", "request"])
def test_a_timeout_that_no_connection_could_have_is_complained_of(tmp_path: Path, name: str, text: str) -> None:
    """The SDK counts in milliseconds of 32 bits, and an attempt that may take days is none."""
    said = complaint(tmp_path, f"{MINIMUM}timeouts: {{{name}: {text}}}\n")
    assert f": timeouts.{name}: a duration from 1s to 1h is expected, not '{text}'" in said


@pytest.mark.parametrize(("connect", "step"), [("5s", 5.0), ("10s", 10.0), ("60s", 10.0)])
def test_the_time_for_a_connection_bounds_each_step_of_it(tmp_path: Path, connect: str, step: float) -> None:
    """And all of them together."""
    target = reader.parse(f"{MINIMUM}timeouts: {{connect: {connect}}}\n", tmp_path / "config.yaml").target
    assert (target.timeout, target.whole) == (step, float(connect[:-1]))


@pytest.mark.parametrize("form", ["hashed", "system"])
def test_a_directory_of_anchors_is_always_healed(tmp_path: Path, form: str) -> None:
    """It is the agent's alone: no other program writes there."""
    text = f"{MINIMUM}copies: [{{to: /x, content: anchors, format: {form}, heal: false}}]\n"
    assert "copies[0].heal: true: a directory of anchors is the agent's alone" in complaint(tmp_path, text)
