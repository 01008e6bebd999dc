"""A configuration as it is read: what is understood, and what is complained of, with file, line and key."""

from __future__ import annotations

import zoneinfo
from dataclasses import replace
from datetime import time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.config import reader, values
from agent.core.aws.endpoints import Proxy
from agent.core.values import ByHand, KeyAlgorithm
from agent.core.when.maintenance import MaintenanceWindow
from agent.errors import ConfigError
from support.unit.reader import MINIMUM, complaint, write

if TYPE_CHECKING:
    from collections.abc import Callable

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
    'method: vending-machine, url: "https://bücher.example:8443/v1", token: {file: /t}': (
        "url: https://xn--bcher-kva.example:8443/v1, the same in ASCII, is expected"
    ),
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
        (2, "port: [8883]", "port: a whole number from 1 to 65535 is expected, not [8883]"),
        (2, "port: {is: 8883}", "port: a whole number from 1 to 65535 is expected, not a mapping"),
        (2, "port: [[8883]]", "port: a whole number from 1 to 65535 is expected, not a nested list"),
        (
            2,
            "rotation: {maintenance: [{from: '01:00', to: '02:00', days: [monday, sun]}]}",
            "rotation.maintenance[0].days: a list of mon, tue, wed, thu, fri, sat, sun is expected, not [monday, sun]",
        ),
        (
            2,
            "rotation: {maintenance: [{from: '01:00', to: '02:00', days: []}]}",
            "rotation.maintenance[0].days: a list of mon, tue, wed, thu, fri, sat, sun is expected, not an empty list",
        ),
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
        (2, "rotation: {probation: 36501d}", "rotation.probation: a duration from 0s to 36500d is expected"),
        (2, "rotation: {grace: 9999999d}", "rotation.grace: a duration from 0s to 36500d is expected"),
        (2, "gates: {timeout: 9999999h}", "gates.timeout: a duration from 0s to 36500d is expected"),
        (2, "rotation: {grace: ٣d}", "rotation.grace: a duration such as"),
        (2, "trust: {warn: []}", "trust.warn: a list of durations"),
        (2, "trust: {warn: [30d, 9999999d]}", "trust.warn: a list of durations"),
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
        ("watch: [x}\nendpoint: @x\n", ":1: it is not sound YAML: expected ',' or ']'"),  # of two, the first
        ("endpoint: x.example\nrotation:\n\ttemplate: a\n", ":3: there is a tab: put spaces in its place"),
        ("endpoint:\tx.example\n", ":1: there is a tab: put spaces in its place"),
        ("endpoint: x.example\nrotation:\n  template: a\n\tkeep: 3\n", ":4: there is a tab: put spaces in its place"),
        ("endpoint: &a [*a]\n", "endpoint: the account's ATS endpoint"),
        (b"endpoint: \xff\xfe\n", "it is not UTF-8 text"),
        (b"endpoint: a\x00b\n", "it is no text: there is a NUL in it"),
        ("[" * 30_000, "it is not sound YAML"),
        ("endpoint: https://x.example/\n", "endpoint: a host name without scheme, port or path is expected"),
        ("endpoint: x.example:8883\n", "endpoint: a host name without scheme, port or path is expected"),
        (
            "endpoint: bücher.example\n",
            "endpoint: xn--bcher-kva.example, the same in ASCII, is expected, not 'bücher.ex",
        ),
        *(
            (f"endpoint: '{written}'\n", "; `x.example` was probably meant")
            for written in (
                "https://x.example/",
                "x.example:8883",
                "mqtts://x.example:8883/a?b",
                "x.example.:443",
                " x.example ",
                "wss://X.Example/mqtt",
                "//x.example",
            )
        ),
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


@pytest.mark.parametrize("text", ["https://", "a b", "gateway:8883", "x_y.example", "arn:aws:iot:eu-west-1:1:thing/a"])
def test_no_name_is_guessed_where_none_stands(tmp_path: Path, text: str) -> None:
    """A wrong guess is worse than none."""
    assert "meant" not in complaint(tmp_path, f"endpoint: '{text}'\n")


def test_a_value_that_is_shown_in_part_says_so(tmp_path: Path) -> None:
    """A name that seems to end early would be looked for as the mistake."""
    host = "a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com"
    said = complaint(tmp_path, f"endpoint: https://{host}\n")
    assert f"not 'https://{host[:32]}'...; `{host}` was probably meant" in said


@pytest.mark.parametrize("text", ["X.Example", "x.example.", "'X.EXAMPLE.'"])
def test_a_name_has_one_form_however_it_is_spelt(tmp_path: Path, text: str) -> None:
    """Some servers take another case, or a final dot, for another name."""
    assert reader.parse(f"endpoint: {text}\n", tmp_path).endpoint == "x.example"


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


@pytest.mark.parametrize("form", ["hashed", "system"])
def test_a_directory_of_anchors_is_always_healed(tmp_path: Path, form: str) -> None:
    """It is the agent's alone: no other program writes there."""
    text = f"{MINIMUM}copies: [{{to: /x, content: anchors, format: {form}, heal: false}}]\n"
    assert "copies[0].heal: true: a directory of anchors is the agent's alone" in complaint(tmp_path, text)


def test_the_runtime_directory_is_found_in_whatever_text_the_rest_is(tmp_path: Path) -> None:
    """A command asks the daemon there, whatever became of the file since."""
    for encoding in ("utf-8-sig", "utf-16", "latin-1"):
        path = tmp_path / encoding
        path.write_bytes("endpoint: x.example\nruntime_dir: /run/gw\nunknown: ä\n".encode(encoding))
        assert reader.runtime_dir(path) == Path("/run/gw")
