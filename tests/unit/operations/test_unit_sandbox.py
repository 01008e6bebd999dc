from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.config.values import (
    DEFAULT_DEPENDANTS,
    ClaimConfig,
    Config,
    EnrollmentConfig,
    FileValue,
    NoticesConfig,
    RotationConfig,
    TrustConfig,
    WatchConfig,
)
from agent.core.dependants import Content, Copy, Dependants
from agent.dependants.units import Systemd
from agent.operations.unit_sandbox import DAEMON, HELPER, Sandbox, kept_from, sandbox_of
from support.running.systemd import Systemctl

if TYPE_CHECKING:
    from typing import Any

UNITS = Path(__file__).parents[3] / "systemd"
CONFIG = Path("/etc/iot-cert-agent/config.yaml")
EXEC = "{ path=/usr/bin/iot-cert ; argv[]=/usr/bin/iot-cert run ; ignore_errors=no }"


def shipped(unit: str) -> dict[str, str]:
    """Return what systemd shows of a unit as it is shipped."""
    lines = (UNITS / unit).read_text().splitlines()
    return dict(line.partition("=")[::2] for line in lines if "=" in line and line[0] != "#")


def house(tmp_path: Path, **drop_in: str) -> Systemctl:
    """Return a systemd that has both units, the daemon's with a drop-in."""
    systemctl = Systemctl(tmp_path)
    systemctl.has(DAEMON, **{**shipped(DAEMON), "ExecStart": EXEC, **drop_in})
    systemctl.has(HELPER, **shipped(HELPER))
    return systemctl


def config(**changes: Any) -> Config:
    """Return the configuration that the unit runs with."""
    return Config(path=CONFIG, endpoint="localhost", **changes)


def claim(folder: str) -> EnrollmentConfig:
    """Return an enrolment whose claim lies in a folder."""
    files = ClaimConfig(certificate=Path(folder, "claim.pem"), key=Path(folder, "claim.key"))
    return EnrollmentConfig(template="a", claim=files)


def copied(path: str) -> Dependants:
    """Return a copy of the key that is wanted somewhere."""
    return replace(DEFAULT_DEPENDANTS, copies=(Copy(to=Path(path), content=Content.KEY),))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"state_dir": Path("/data/iot")}, "state_dir: iot-cert-agent.service may not write to /data/iot: `system"),
        ({"state_dir": Path("/home/iot")}, "state_dir: iot-cert-agent.service sees nothing of /home/iot"),
        ({"state_dir": Path("/tmp/iot")}, "state_dir: iot-cert-agent.service sees nothing of /tmp/iot"),  # noqa: S108 - a name
        ({"state_dir": Path("/var/lib/iot-cert-agent-2")}, "may not write to /var/lib/iot-cert-agent-2"),
        ({"runtime_dir": Path("/run/iot")}, "runtime_dir: iot-cert-agent.service may not write to /run/iot"),
        ({"trust": TrustConfig(inbox=Path("/var/spool/roots"))}, "trust.inbox: iot-cert-agent.service may not write"),
        ({"trust": TrustConfig(root=Path("/root/root.json"))}, "trust.root: iot-cert-agent.service sees nothing"),
        ({"notices": NoticesConfig(command=("/root/tell",))}, "notices.command: iot-cert-agent.service sees nothing"),
        ({"watch": (WatchConfig(path=Path("/home/app/app.pem")),)}, "watch: iot-cert-agent.service sees nothing"),
        ({"enrollment": claim("/root/claim")}, "enrollment.claim: iot-cert-agent.service sees nothing of /root/claim"),
        ({"enrollment": claim("/etc/iot-cert-agent/claim")}, ""),
        ({"rotation": RotationConfig(inhibit_file=Path("/tmp/hold"))}, "rotation.inhibit_file: iot-cert-agent.service"),  # noqa: S108 - a name
        ({"rotation": RotationConfig(inhibit_file=Path("/run/hold"))}, ""),
        ({"dependants": copied("/usr/local/etc/app.key")},
         "copies: iot-cert-agent-deploy.service may not write to /usr/local/etc"),
        ({"dependants": copied("/etc/app/app.key")}, ""),
    ],
)  # fmt: skip
def test_what_the_units_as_shipped_keep_back(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    """Root sees all of it. Whatever the daemon would fail with an hour later is told when it is configured."""
    found = kept_from(config(**changes), house(tmp_path).systemd)
    assert bool(found) is bool(told)
    assert not told or told in found[0]


def test_a_drop_in_lets_it_in(tmp_path: Path) -> None:
    """As the sentence says."""
    moved = config(state_dir=Path("/data/iot"))
    (said,) = kept_from(moved, house(tmp_path).systemd)
    name, _, value = said.rpartition("`ReadWritePaths=")
    assert name
    Path(tmp_path, "systemctl.d").rename(tmp_path / "before")
    assert kept_from(moved, house(tmp_path, ReadWritePaths=value.partition("`")[0]).systemd) == ()


def test_a_link_on_the_way_is_followed(tmp_path: Path) -> None:
    """The kernel does so, too: what counts is where the files lie."""
    Path(tmp_path, "link").symlink_to("/data/iot")
    (said,) = kept_from(config(trust=TrustConfig(inbox=tmp_path / "link")), house(tmp_path, PrivateTmp="no").systemd)
    assert "/data/iot" in said


def test_what_root_hands_over_may_be_hidden(tmp_path: Path) -> None:
    """A value that root alone may read comes from outside; what all may read the daemon reads itself."""
    secret, plain = tmp_path / "secret", tmp_path / "plain"
    secret.write_text("0042")
    secret.chmod(0o400)
    plain.write_text("0042")
    plain.chmod(0o444)
    parameters = {"SerialNumber": FileValue(path=secret), "Site": FileValue(path=plain)}
    hides = house(tmp_path, InaccessiblePaths=str(tmp_path))
    found = kept_from(config(rotation=RotationConfig(parameters=parameters)), hides.systemd)
    assert [item.partition(":")[0] for item in found] == ["rotation.parameters.Site"]


@pytest.mark.parametrize(
    "values", [{"LoadState": "not-found"}, {"ExecStart": EXEC.replace(" run", " --config /etc/other.yaml run")}]
)
def test_of_another_configuration_nothing_is_said(tmp_path: Path, values: dict[str, str]) -> None:
    """Nor where the unit is not installed, or systemd does not answer."""
    systemctl = house(tmp_path, **values)
    assert kept_from(config(state_dir=Path("/data/iot")), systemctl.systemd) == ()
    assert kept_from(config(state_dir=Path("/data/iot")), Systemd(str(tmp_path / "no-systemctl"))) == ()


SANDBOXES = {
    "ProtectHome=tmpfs BindPaths=/home/app:/home/app:rbind": ("/home/app/x", True, True),
    "ProtectHome=yes BindPaths=/home/app:/home/app:rbind": ("/home/app/x", False, True),
    "ProtectHome=read-only": ("/home/app", True, False),
    "ProtectSystem=full": ("/etc/app", True, False),
    "ProtectSystem=strict ReadWritePaths=-/srv/app": ("/srv/app/x", True, True),
    "ProtectSystem=strict StateDirectory=app": ("/var/lib/app/x", True, True),
    "ProtectSystem=strict": ("/sys/class", True, True),
    "ReadWritePaths=/srv ReadOnlyPaths=/srv/app": ("/srv/app", True, False),
    "TemporaryFileSystem=/srv:ro BindReadOnlyPaths=/data:/srv/app:rbind": ("/srv/app", True, False),
    "PrivateTmp=yes": ("/var/tmp/x", False, True),  # noqa: S108 - a name
    "": ("/anything", True, True),
}


@pytest.mark.parametrize("settings", SANDBOXES)
def test_the_deepest_setting_counts(settings: str) -> None:
    """As systemd.exec(5) has it."""
    path, sees, writes = SANDBOXES[settings]
    shown: dict[str, str] = {}
    for word in settings.split():
        name, _, value = word.partition("=")
        shown[name] = value
    found = sandbox_of(shown)
    assert (found.sees(path), found.writes(path)) == (sees, writes)


def test_a_neighbour_by_name_is_another_place() -> None:
    """What begins alike is not within."""
    assert Sandbox(closed=("/srv/app",)).sees("/srv/application")
