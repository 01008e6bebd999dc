"""The files for systemd: what the tools of systemd say of them, and that they agree with the program."""

from __future__ import annotations

import re
import shlex
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.cli.command_line.parser import parse
from agent.core.report.journal_events import SHOWN, Event
from agent.system.watches import netlink
from support.suite.surroundings import in_ci

ROOT = Path(__file__).parents[3]
SYSTEMD = ROOT / "systemd"
SERVICE = SYSTEMD / "iot-cert-agent.service"
SOCKET = SYSTEMD / "iot-cert-agent.socket"
CATALOGUE = SYSTEMD / "iot-cert-agent.catalog"

VERBS = {"status", "check", "explain", "history", "rotate", "rollback", "pause", "resume"} | {
    f"retire{option}" for option in ("", " --now", " --drop ID")
}
FIELDS = {"CHANGE", "PHASE", "GENERATION", "FAILURE_CLASS", "FAILURE_CODE"}
COLUMNS = 76  # `journalctl -x` indents by three, and a serial console has eighty


def needs(tool: str) -> pytest.MarkDecorator:
    """Skip where a tool of systemd is not installed, but never in CI."""
    missing = shutil.which(tool) is None and not in_ci()
    return pytest.mark.skipif(missing, reason=f"{tool} is not installed")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool and return what became of it."""
    return subprocess.run(command, capture_output=True, text=True, check=False)


def settings(unit: Path) -> list[tuple[str, str, str]]:
    """Return section, key and value of each setting in a unit, in order."""
    section, found = "", []
    for line in unit.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.append((section, key, value))
    return found


@dataclass(frozen=True)
class Entry:
    """One entry of the catalogue."""

    id: str
    headers: dict[str, str]
    text: str


def entries() -> list[Entry]:
    """Parse the catalogue as systemd's documentation describes it."""
    _, *parts = re.split(r"^-- ", CATALOGUE.read_text(), flags=re.MULTILINE)
    found = []
    for part in parts:
        head, _, text = part.partition("\n\n")
        number, *lines = head.splitlines()
        found.append(Entry(number, dict(line.split(": ", 1) for line in lines), text.strip()))
    return found


ENTRIES = entries()
by_subject = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.headers["Subject"])


def test_every_event_has_one_entry_in_the_catalogue_and_no_entry_is_without_event() -> None:
    """A technician who adds `-x` is told what to do about anything that the agent can say."""
    told = [(entry.id, entry.headers["Subject"]) for entry in ENTRIES]
    assert sorted(told) == sorted((event.message.id, event.message.title) for event in Event)


@by_subject
def test_an_entry_says_in_a_few_lines_what_to_do(entry: Entry) -> None:
    """Two to six lines that fit a serial console, with at least one command, and only those that the agent has."""
    text, _, rest = entry.text.partition("\n\n")
    assert set(entry.headers) == {"Subject", "Defined-By"}
    assert 2 <= len(text.splitlines()) <= 6
    assert max(len(line) for line in entry.text.splitlines()) <= COLUMNS
    commands = re.findall(r"`([^`]*)`", text)
    assert "`" not in re.sub(r"`[^`\n]*`", "", entry.text)
    named = {command.removeprefix("iot-cert ") for command in commands if command.startswith("iot-cert ")}
    assert named <= VERBS
    assert named or "systemctl" in text
    assert "@" not in text
    assert set(re.findall(r"@(\w+)@", rest)) <= {f"IOT_CERT_{name}" for name in FIELDS}


def test_every_verb_that_helps_is_named_somewhere() -> None:
    """The catalogue leads to each command that looks at a state or gets out of one."""
    text = CATALOGUE.read_text()
    assert {verb for verb in VERBS if f"`iot-cert {verb}`" in text} == VERBS


@needs("journalctl")
def test_the_journal_takes_the_catalogue(tmp_path: Path) -> None:
    """Systemd compiles it without a word and finds every entry."""
    target = tmp_path / "usr/lib/systemd/catalog"
    target.mkdir(parents=True)
    shutil.copy(CATALOGUE, target)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    built = run("journalctl", f"--root={tmp_path}", "--update-catalog")
    assert (built.returncode, built.stderr) == (0, "")
    listed = run("journalctl", f"--root={tmp_path}", "--list-catalog").stdout
    assert {line.split()[0] for line in listed.splitlines()} == {event.message.id for event in Event}
    assert "iot-cert-agent: The certificate agent is running" in listed


@pytest.mark.parametrize("unit", [SERVICE, SOCKET], ids=lambda unit: unit.suffix)
def test_settings_stand_in_alphabetical_order(unit: Path) -> None:
    """What is sorted is found, and does not stand twice unawares."""
    found = settings(unit)
    for section in {section for section, _, _ in found}:
        keys = [key for name, key, _ in found if name == section]
        rest = [key for key in keys if key != "Description"]
        assert rest == sorted(rest)
        assert {key for key in keys if keys.count(key) > 1} <= {"SystemCallFilter"}


@needs("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    """No unknown key, no bad value; only the program itself is not installed where tests run."""
    service = tmp_path / SERVICE.name
    service.write_text(SERVICE.read_text().replace("/usr/bin/iot-cert run", "/bin/true"))
    shutil.copy(SOCKET, tmp_path)
    assert complaints(service, tmp_path / SOCKET.name) == []
    service.write_text(service.read_text().replace("UMask=0077", "UMask=rwx"))
    assert len(complaints(service)) == 1


def complaints(*units: Path) -> list[str]:
    """Return what systemd has to say of these units, and not of others of this machine."""
    verified = run("systemd-analyze", "verify", "--man=no", *units)
    return [line for line in (verified.stdout + verified.stderr).splitlines() if "iot-cert-agent" in line]


@needs("systemd-analyze")
def test_the_sandbox_is_as_tight_as_promised(tmp_path: Path) -> None:
    """An exposure of at most 1.2, which is so close that a setting left out of the sandbox is noticed."""
    assert exposed(SERVICE) == 0
    weaker = tmp_path / SERVICE.name
    for line in (
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectClock=yes",
        "RestrictNamespaces=yes",
    ):
        assert f"\n{line}\n" in SERVICE.read_text()
        weaker.write_text(SERVICE.read_text().replace(f"\n{line}\n", "\n"))
        assert exposed(weaker) != 0, line


def exposed(unit: Path) -> int:
    """Return 0 when the exposure of a unit is at most 1.2, the threshold being ten times that."""
    return run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=12", unit).returncode


def test_the_socket_lies_where_the_service_keeps_it() -> None:
    """The directory is the service's, and outlives it: otherwise a stop would take the socket unit's socket away."""
    service, socket = ({key: value for _, key, value in settings(unit)} for unit in (SERVICE, SOCKET))
    assert Path(socket["ListenStream"]).parent == Path("/run", service["RuntimeDirectory"])
    assert service["RuntimeDirectoryPreserve"] == "yes"
    assert service["RuntimeDirectoryMode"] == socket["DirectoryMode"] == "0755"
    assert socket["SocketMode"] == "0666"


def test_systemd_hands_over_a_socket_for_news_of_the_network() -> None:
    """The sandbox opens none. It listens for what the daemon's own would, and comes and goes with the service."""
    network = {key: value for _, key, value in settings(SYSTEMD / "iot-cert-agent-network.socket")}
    assert network["ListenNetlink"] == f"route {netlink._GROUPS}"
    assert network["Service"] == network["PartOf"] == SERVICE.name
    service = {key: value for _, key, value in settings(SERVICE)}
    assert service["Sockets"].split() == [SOCKET.name, "iot-cert-agent-network.socket"]
    assert "AF_NETLINK" not in service["RestrictAddressFamilies"]


def test_the_service_tells_its_callers_apart() -> None:
    """In a user namespace every caller but root would be "nobody", and no group but the agent's own known."""
    assert "PrivateUsers" not in {key for _, key, _ in settings(SERVICE)}


def test_each_part_of_the_sandbox_that_is_left_open_says_why() -> None:
    """What `systemd-analyze security` still counts is named in a comment, and so is each family of addresses."""
    comments = "\n".join(line for line in SERVICE.read_text().splitlines() if line.startswith("#"))
    told = run("systemd-analyze", "security", "--offline=true", "--no-pager", SERVICE).stdout
    left = {line.split()[1].split("=")[0] for line in told.splitlines() if line.startswith("✗")}
    assert left >= {"PrivateNetwork", "PrivateUsers", "RootDirectory", "IPAddressDeny"}
    for name in left - {"RestrictAddressFamilies", "DeviceAllow"}:
        assert f"No {name}=:" in comments
    assert "AF_UNIX for" in comments
    assert "Of the devices" in comments


def test_the_service_relies_on_what_the_program_does() -> None:
    """It says when it is ready and that it is alive, reads its configuration anew on SIGHUP, and holds keys."""
    service = {key: value for _, key, value in settings(SERVICE)}
    assert parse(shlex.split(service["ExecStart"])[1:]).verb == "run"
    assert (service["Type"], service["NotifyAccess"], service["WatchdogSec"]) == ("notify", "main", "3min")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert (service["Restart"], service["RestartSec"], service["StartLimitIntervalSec"]) == ("always", "10s", "0")
    assert (service["LimitCORE"], service["MemorySwapMax"]) == ("0", "0")
    assert (service["StateDirectoryMode"], service["UMask"]) == ("0750", "0077")


def test_a_packet_that_fills_the_memory_ends_a_worker_and_not_the_gateway() -> None:
    """The SDK buffers what a peer announces; what that costs is bounded, and a worker's end is not the daemon's."""
    service = {key: value for _, key, value in settings(SERVICE)}
    assert (service["MemoryMax"], service["OOMPolicy"]) == ("256M", "continue")
    assert "MemoryHigh" not in service


def test_the_service_starts_without_network_and_without_the_time() -> None:
    """It waits for nothing that a gateway in trouble may lack."""
    ordering = {key: value for _, key, value in settings(SERVICE) if key in {"After", "Requires", "Wants", "BindsTo"}}
    assert ordering == {"After": "network.target"}


@needs("systemd-sysusers")
@needs("systemd-tmpfiles")
@pytest.mark.root
def test_the_claim_key_is_the_agents_alone(tmp_path: Path) -> None:
    """Whichever user put it there, in whatever mode: users and groups are made, and then it is the agent's to read."""
    claim = tmp_path / "etc/iot-cert-agent/claim"
    claim.mkdir(parents=True)
    key = claim / "key.pem"
    key.write_text("a key")
    key.chmod(0o644)
    made = run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "iot-cert-agent.sysusers")
    assert made.returncode == 0, made.stderr
    tidied = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", SYSTEMD / "iot-cert-agent.tmpfiles")
    assert (tidied.returncode, tidied.stderr) == (0, "")
    users, groups = (table(tmp_path / "etc" / name) for name in ("passwd", "group"))
    assert set(users) == {"iot-cert-agent"}
    assert set(groups) == {"iot-cert-agent", "iot-cert-admin"}
    assert users["iot-cert-agent"][5] == "/var/lib/iot-cert-agent"
    uid, gid = int(users["iot-cert-agent"][2]), int(groups["iot-cert-agent"][2])
    assert access(claim) == (0, gid, 0o750)
    assert access(key) == (uid, gid, 0o600)


@needs("systemd-sysusers")
@needs("systemd-tmpfiles")
@pytest.mark.root
def test_only_those_who_may_order_changes_confirm_them(tmp_path: Path) -> None:
    """The directory is the agent's, so that it can be emptied, and the admins may write to it."""
    (tmp_path / "etc").mkdir()
    made = run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "iot-cert-agent.sysusers")
    assert made.returncode == 0, made.stderr
    tidied = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", SYSTEMD / "iot-cert-agent.tmpfiles")
    assert (tidied.returncode, tidied.stderr) == (0, "")
    users, groups = (table(tmp_path / "etc" / name) for name in ("passwd", "group"))
    uid, admins = int(users["iot-cert-agent"][2]), int(groups["iot-cert-admin"][2])
    runtime = tmp_path / "run/iot-cert-agent"
    assert access(runtime) == (uid, int(groups["iot-cert-agent"][2]), 0o755)
    assert access(runtime / "confirm") == (uid, admins, 0o770)


def table(path: Path) -> dict[str, list[str]]:
    """Return the lines of a file such as /etc/passwd by their names."""
    return {line.split(":")[0]: line.split(":") for line in path.read_text().splitlines()}


def access(path: Path) -> tuple[int, int, int]:
    """Return owner, group and mode."""
    status = path.stat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def test_the_folder_holds_what_is_installed_and_no_package() -> None:
    """An `__init__.py` would make it shadow systemd-python."""
    kinds = {"catalog", "service", "socket", "sysusers", "tmpfiles"}
    assert {path.name for path in SYSTEMD.iterdir()} == {
        *(f"iot-cert-agent.{kind}" for kind in kinds), "iot-cert-agent-deploy.service", "iot-cert-agent-deploy.socket",
        "iot-cert-agent-network.socket",
    }  # fmt: skip


def test_what_an_entry_shows_of_a_record_is_a_field_that_each_record_has() -> None:
    """The journal prints the name of a field to the letter that a record lacks; the table says which must be there."""
    parts = CATALOGUE.read_text().split("\n-- ")[1:]
    assert len(parts) > 10
    for part in parts:
        event = next(event for event in Event if part.startswith(event.message.id))
        assert set(SHOWN.get(event, ())) == {name.lower() for name in re.findall(r"@IOT_CERT_([A-Z_]+)@", part)}, event
