"""Broken gateways, each broken for real, and what `iot-cert check` shows first: the cause, and what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import ssl
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from agent.sandbox.account.authority import Authority
from support.crashkit import smalldisk
from support.running.daemon import RunningDaemon
from support.running.gateway import Gateway
from support.suite import campaigns, warm
from support.suite.surroundings import NOBODY, need_root
from support.telling.breaking import (
    BrokenGateway,
    black_hole,
    check,
    first_failure,
    inhabited,
    lines_of,
    sound,
    twin_of,
    with_hosts,
)
from support.telling.broken import ATS, DAY, LEGACY, NOW, SITUATIONS, TABLE, Breakage, visited

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRITTEN = json.loads(TABLE.read_text())


@pytest.fixture(scope="module", name="house")
def _house() -> Iterator[Gateway]:
    with sound() as made:
        yield made


@pytest.fixture(name="gateway")
def _gateway(house: Gateway) -> Iterator[Gateway]:
    with twin_of(house) as twin:
        yield twin


# A sample has one of those that the same check finds by the same code.
TAKEN = campaigns.one_of_each(SITUATIONS, lambda item: " ".join(item.first))


@pytest.mark.parametrize("situation", [pytest.param(item, id=item.name.replace(" ", "-")) for item in TAKEN])
def test_the_first_failure_is_the_cause_and_says_what_to_do(gateway: Gateway, situation: Breakage) -> None:
    """Whatever is broken, the first line that fails names it, and its remedy is the one that helps."""
    ran, said = visited(gateway, situation)
    line = first_failure(ran)
    assert (line["check"], line["code"]) == situation.first, ran.out
    assert situation.words in line["text"]
    assert situation.remedy.replace("DIR", str(gateway.directory)) in line["remedy"]
    assert ran.code == situation.exit
    assert said == WRITTEN[situation.name], "PYTHONPATH=tests python -m support.telling.broken writes the table anew"


def test_each_broken_gateway_stands_in_the_table() -> None:
    """None is broken that is not written down, and none is written down that is not broken."""
    assert list(WRITTEN) == [situation.name for situation in SITUATIONS]


# -- what fails first is not all ---------------------------------------------------------------------------------------


def test_a_gateway_that_works_is_told_so(house: Gateway) -> None:
    """With a daemon every line is ok, the exit code is 0 and nothing is called the cause."""
    with RunningDaemon(house) as daemon:
        daemon.until_up()
        ran = check(house, "--json")
        assert {name: line["verdict"] for name, line in lines_of(ran).items() if line["verdict"] != "ok"} == {}
        assert ran.outcome == {"event": "check", "cause": None, "exit": 0}
        assert ran.code == 0
        daemon.until_up()


def test_people_read_the_same_in_lines(gateway: Gateway) -> None:
    """A line for each check, the remedy below, and where to begin."""
    gateway.service.take_down()
    try:
        shown = check(gateway).out.splitlines()
    finally:
        gateway.service.bring_up()
    at = next(number for number, line in enumerate(shown) if line.startswith("failure"))
    assert shown[at].startswith("failure   tcp            localhost does not take connections on port")
    assert (
        shown[at + 1]
        == " " * 25 + "A firewall refuses it, or another machine than is meant: check `endpoint` and `port`."
    )
    assert shown[-1] == "Begin with tcp: it may be the reason of the others."
    skipped = [line.split()[1] for line in shown if line.startswith("skipped")]
    assert skipped == ["tls", "server", "connect", "permissions"]


def test_the_legacy_endpoint_is_explained_from_both_sides(gateway: Gateway) -> None:
    """Its name says so before anything is connected, its chain says so once it answers, and both name the ATS one."""
    stand_in = Authority("VeriSign Class 3 Public Primary CA - G5", NOW, organisation="VeriSign, Inc.")
    gateway.service.host = LEGACY
    gateway.service.use_root(stand_in, intermediate=True)
    gateway.configure({"endpoint: localhost": f"endpoint: {LEGACY}"})
    ran = check(gateway, "--json", within=with_hosts(gateway, LEGACY))
    lines = lines_of(ran)
    assert first_failure(ran)["check"] == "endpoint"
    assert ATS in lines["endpoint"]["remedy"]
    assert "legacy endpoint" in lines["endpoint"]["text"]
    assert (lines["tcp"]["verdict"], lines["tls"]["verdict"]) == ("ok", "ok")
    assert lines["server"]["code"] == "distrusted-root"
    assert "VeriSign Class 3 Public Primary CA - G5" in lines["server"]["text"]
    assert "withdrew trust from Symantec's CAs in 2018" in lines["server"]["text"]
    assert lines["server"]["remedy"] == f"This is the legacy endpoint; set `endpoint: {ATS}`."
    assert lines["connect"]["verdict"] == "skipped"


def test_a_trusted_root_that_should_not_be_is_a_warning(gateway: Gateway) -> None:
    """With the stand-in among the anchors everything works, and both lines say that it must not stay so."""
    stand_in = Authority("VeriSign Class 3 Public Primary CA - G5", NOW, organisation="VeriSign, Inc.")
    gateway.service.use_root(stand_in)
    (gateway.directory / "roots.pem").write_bytes(stand_in.pem)
    shutil.rmtree(gateway.state)
    lines = lines_of(check(gateway, "--json", "anchors", "server"))
    for name, code in (("anchors", "distrusted"), ("server", "distrusted-root")):
        assert (lines[name]["verdict"], lines[name]["code"]) == ("warning", code)


def test_a_server_without_tls_1_2_is_a_warning(gateway: Gateway) -> None:
    """The agent can connect, the program beside it perhaps not."""
    gateway.service.set_tls(minimum=ssl.TLSVersion.TLSv1_3)
    line = lines_of(check(gateway, "--json", "tls"))["tls"]
    assert (line["verdict"], line["code"]) == ("warning", "tls-1.3-only")
    assert "cannot connect" in line["text"]
    assert "TLS 1.2" in line["remedy"]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, "watched-unusable", "cannot be read: No such file or directory"),
        (b"garbage", "watched-unusable", "there is no certificate in it that can be read"),
        (Authority("Mine", NOW, not_after=NOW + 20 * DAY).pem, "watched-expiring", "Mine in"),
    ],
    ids=["missing", "garbage", "expiring"],
)
def test_a_watched_file_is_a_warning(gateway: Gateway, content: bytes | None, code: str, words: str) -> None:
    """Files of other programs are looked at, and are no reason to fail."""
    path = gateway.directory / "others.pem"
    if content is not None:
        path.write_bytes(content)
    gateway.config.write_text(f"watch: [{{path: {path}}}]\n" + gateway.config.read_text())
    line = lines_of(check(gateway, "--json", "watched"))["watched"]
    assert (line["verdict"], line["code"]) == ("warning", code)
    assert words in line["text"]
    assert str(path) in line["text"]
    assert line["remedy"]


def test_a_damaged_previous_set_keeps_nothing_from_working(gateway: Gateway) -> None:
    """Only the current set is needed: the rest is a warning, and the connection is tried as ever."""
    gateway.rotate()
    (gateway.state / "generations" / "000001" / "key.pem").write_bytes(b"")
    ran = check(gateway, "--json")
    lines = lines_of(ran)
    assert (lines["set"]["verdict"], lines["set"]["code"]) == ("warning", "damaged")
    assert "The previous set is not usable" in lines["set"]["text"]
    assert lines["connect"]["verdict"] == "ok"
    assert first_failure(ran)["check"] == "daemon"


def test_a_read_only_disk_is_remounted_where_it_is_mounted(gateway: Gateway) -> None:
    """`mount` takes no directory somewhere on a file system."""
    with ExitStack() as stack:
        mount = BrokenGateway(gateway, stack).disk()
        smalldisk.remount(mount, "ro")
        line = lines_of(check(gateway, "--json", "disk"))["disk"]
    assert f"`sudo mount -o remount,rw {mount}`" in line["remedy"]


# -- the network is dead -----------------------------------------------------------------------------------------------


def test_a_name_server_that_swallows_everything_is_soon_given_up(gateway: Gateway) -> None:
    """No technician waits for the C library's patience."""
    gateway.configure({"endpoint: localhost": "endpoint: gateways.example"})
    ran = check(gateway, "--json", within=black_hole(gateway))
    assert first_failure(ran)["check"] == "dns"
    assert ran.code == 5


def test_an_uplink_that_swallows_everything_is_soon_given_up(gateway: Gateway) -> None:
    """However many addresses the endpoint has, which on AWS are eight."""
    hosts = "".join(f"192.0.2.{10 + number} gateways.example\n" for number in range(8))
    gateway.configure({"endpoint: localhost": "endpoint: gateways.example"})
    BrokenGateway(gateway, ExitStack()).port(8883)
    ran = check(gateway, "--json", within=black_hole(gateway, hosts))
    lines = lines_of(ran)
    assert lines["dns"]["verdict"] == "ok"
    assert first_failure(ran)["check"] == "tcp"
    assert "no answer in time" in lines["tcp"]["text"]
    assert "set `port: 443`" in lines["tcp"]["remedy"]
    assert [name for name, line in lines.items() if line["verdict"] == "skipped"] == [
        "tls", "server", "connect", "permissions"
    ]  # fmt: skip
    assert ran.code == 5


# -- who looks ---------------------------------------------------------------------------------------------------------


def readable(gateway: Gateway) -> None:
    """Let everybody read what a package installs for everybody."""
    need_root()
    for path in (gateway.directory, gateway.config, gateway.directory / "roots.pem"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_who_may_not_look_is_told_what_was_not_looked_at(gateway: Gateway) -> None:
    """Nothing is called sound that this user could not see, and the rest is looked at."""
    readable(gateway)
    lines = lines_of(check(gateway, "--json", user=NOBODY))
    for name in ("files", "set", "connect", "permissions"):
        assert lines[name]["verdict"] == "skipped", lines[name]
        assert "has failed" not in lines[name]["text"]
    for name in ("configuration", "disk", "clock", "anchors", "endpoint", "dns", "tcp", "tls", "server"):
        assert lines[name]["verdict"] == "ok", lines[name]


def test_a_directory_that_may_not_be_entered_is_no_defect(gateway: Gateway) -> None:
    """Not even whether there is a state directory can be seen."""
    readable(gateway)
    closed = gateway.directory / "closed"
    closed.mkdir(mode=0o700)
    gateway.state.rename(closed / "state")
    gateway.configure({f"state_dir: {gateway.state}": f"state_dir: {closed}/state"})
    lines = lines_of(check(gateway, "--json", user=NOBODY))
    for name in ("files", "set"):
        assert lines[name]["verdict"] == "skipped", lines[name]


def test_who_may_only_look_hears_it_from_the_daemon(gateway: Gateway) -> None:
    """The daemon says whether it is connected; what needs the key is left to users who may change things."""
    readable(gateway)
    with RunningDaemon(gateway) as daemon:
        daemon.until_up()
        daemon.runtime.chmod(0o755)
        ran = check(gateway, "--json", user=NOBODY)
    lines = lines_of(ran)
    assert lines["daemon"]["verdict"] != "failure"
    assert lines["permissions"]["verdict"] == "skipped"
    assert "You may not talk to the agent" in lines["permissions"]["text"]
    assert ran.code == 0


class OneThatMayBeLookedAt(Gateway):
    """A gateway whose daemon knows a group of people who may look."""

    GROUP = 47_110

    def fork(self, *arguments: str, log: Path | None = None, **environment: str) -> warm.Forked:
        """See `Gateway.fork`; it runs where /etc/group has the group."""
        path = self.directory / "group"
        path.write_text(f"root:x:0:\niot-cert-agent:x:{self.GROUP}:\n")
        words, env = ["--config", str(self.config), *arguments], {**os.environ, **environment}
        with inhabited(("unshare", "-m", "sh", "-c", f'mount --bind {path} /etc/group && exec "$@"', "sh")) as beside:
            return warm.start(words, cwd=self.directory, env=env, log=log, beside=beside)


def test_a_reader_learns_whether_the_daemon_is_connected(gateway: Gateway) -> None:
    """Members of the readers' group see the connection's state and are told that the rest needs more rights."""
    readable(gateway)
    gateway.__class__ = OneThatMayBeLookedAt
    with RunningDaemon(gateway) as daemon:
        daemon.until_up()
        daemon.runtime.chmod(0o755)
        ran = check(gateway, "--json", user=OneThatMayBeLookedAt.GROUP)
    lines = lines_of(ran)
    assert lines["connect"]["text"] == "The daemon is connected."
    assert lines["permissions"]["verdict"] == "skipped"
    assert "Only root and members of the group iot-cert-admin" in lines["permissions"]["text"]
    assert lines["daemon"]["verdict"] == "ok"


# -- what was asked for ------------------------------------------------------------------------------------------------


def test_names_choose_the_lines(gateway: Gateway) -> None:
    """The exit code is that of the lines that are shown."""
    ran = check(gateway, "--json", "tls", "disk")
    assert list(lines_of(ran)) == ["disk", "tls"]
    assert ran.code == 0
    refused = gateway.run("check", "tsl", expect=2)
    assert "'tsl'" in refused.err
    assert "[]" not in refused.err


def test_a_line_that_could_not_be_looked_at_is_no_success(gateway: Gateway) -> None:
    """What kept it from being looked at is shown as well, and makes the exit code."""
    gateway.config.write_text("a: [")
    ran = check(gateway, "--json", "tls")
    assert list(lines_of(ran)) == ["configuration", "tls"]
    assert first_failure(ran)["check"] == "configuration"
    assert ran.code == 2
