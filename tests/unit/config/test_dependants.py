"""Dependants, as a configuration says them, and complaints about what they cannot be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from agent.config import reader
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
from support.unit.reader import MINIMUM, complaint, write

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
