"""The verb `deploy`: root's alone, by root's configuration, and what a person and a program are shown of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from agent import cli
from agent.cli.changing import deploy
from agent.core.dependants import Occasion
from agent.dependants.helper import Helper
from agent.errors import CloudError
from agent.system.service import service_manager
from support.running.systemd import give, lay, open_place
from support.suite.ran import Ran
from support.suite.surroundings import NOBODY, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 120.0  # seconds, which nothing here takes
COMMAND = [sys.executable, "-Ic", "import sys; from agent.cli import main; sys.exit(main())"]

# What systemd does between its fork and the program: the socket becomes descriptor 3, and that is said.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


class DeployPlace:
    """A gateway with a set in use, and a configuration with one copy and a directory for hooks."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.copy = path / "copy.pem"
        self.hooks = path / "hooks.d"
        self.log = path / "log"
        self._capsys = capsys
        self.hooks.mkdir()
        self.configure(f"copies: [{{to: {self.copy}, content: chain}}]\n")

    def configure(self, text: str) -> None:
        """Write the configuration."""
        self.config.write_text(
            f"endpoint: x.example\nstate_dir: {self.path}/state\nruntime_dir: {self.path}/run\n"
            f"deploy_dir: {self.path}/deploy\ndeploy_socket: {self.path}/socket\n"
            f"hooks: {{directory: {self.hooks}}}\n{text}"
        )

    def hook(self, name: str, script: str = "") -> None:
        """Have a hook that writes its name and why it runs down."""
        (self.hooks / name).write_text(f"#!/bin/sh\necho $(basename $0) $IOT_CERT_PHASE >> {self.log}\n{script}\n")
        (self.hooks / name).chmod(0o755)

    def run(self, *arguments: str, expect: int) -> Ran:
        """Run the command here and hold it to an exit code."""
        code = cli.main(["--config", str(self.config), "deploy", *arguments])
        out, err = self._capsys.readouterr()
        assert code == expect, out + err
        return Ran(code, out, err)

    @property
    def ran(self) -> list[str]:
        """The hooks that ran."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    @property
    def untouched(self) -> bool:
        """Whether nothing was done."""
        return not (self.ran or self.copy.exists() or (self.path / "deploy").exists())


@pytest.fixture(name="place")
def _place(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[DeployPlace]:
    monkeypatch.setattr(deploy, "keep_memory_private", lambda: None)  # for this process goes on after it
    with open_place() as path:
        lay(path / "state", 1)
        yield DeployPlace(path, capsys)


# -- whose it is -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--afresh",), ("--serve",), ("--json",)])
def test_no_user_but_root_may(place: DeployPlace, arguments: tuple[str, ...]) -> None:
    """It is refused before anything is read."""
    need_root()
    place.config.unlink()
    os.seteuid(NOBODY)
    try:
        ran = place.run(*arguments, expect=4)
    finally:
        os.seteuid(0)
    assert "Only root may have other programs reloaded." in ran.out + ran.err
    assert "sudo" in ran.out + ran.err
    assert place.untouched


@pytest.mark.parametrize("how", ["all may write", "group may write", "another's", "directory", "link"])
def test_a_configuration_that_others_may_change_is_not_acted_on(place: DeployPlace, how: str) -> None:
    """It names what root writes and runs: a user who may write it would be root."""
    need_root()
    place.hook("10-first")
    match how:
        case "all may write":
            place.config.chmod(0o646)
        case "group may write":
            place.config.chmod(0o664)
        case "another's":
            os.chown(place.config, NOBODY, 0)
        case "directory":
            place.path.chmod(0o757)
        case _:
            real = place.config.rename(place.path / "real.yaml")
            os.chown(real, NOBODY, 0)
            place.config.symlink_to(real)
    said = place.run(expect=2).err

    assert f"so root does nothing by {place.config}." in said
    assert place.untouched


@pytest.mark.parametrize("uid", [0, NOBODY])
@pytest.mark.parametrize("what", ["config", "state"])
def test_another_users_link_on_the_way_is_not_followed(place: DeployPlace, what: str, uid: int) -> None:
    """Where it leads now is root's alone, and may be elsewhere a moment later; a link of root's own is followed."""
    need_root()
    place.hook("10-first")
    way = place.path / "way"
    way.symlink_to(place.path)
    os.lchown(way, uid, uid)
    if what == "config":
        place.config = way / "config.yaml"
    else:
        place.config.write_text(place.config.read_text().replace(f"{place.path}/state", f"{way}/state"))
    if uid == 0:
        place.run(expect=0)
        assert (place.ran, place.copy.exists()) == (["10-first again"], True)
        return
    said = place.run(expect=2).err

    assert f"{way} belongs to nobody and not to root, so root does nothing by {place.config}." in said
    assert place.untouched


@pytest.mark.parametrize("how", ["another's", "all may write", "gone"])
def test_above_the_state_directory_no_other_user_may_be(place: DeployPlace, how: str) -> None:
    """A user who may rename it chooses whose set is handed out; it itself is the agent's user's."""
    need_root()
    place.hook("10-first")
    home = place.path / "home"
    place.config.write_text(place.config.read_text().replace(f"{place.path}/state", f"{home}/state"))
    if how != "gone":
        home.mkdir()
        (place.path / "state").rename(home / "state")
        os.chown(home, NOBODY, NOBODY) if how == "another's" else home.chmod(0o777)
    said = place.run(expect=2).err

    assert f"{home}: it cannot be looked at" in said if how == "gone" else f"{home} " in said
    assert place.untouched


def test_memory_is_kept_private(place: DeployPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the configuration is read, and a key after it."""
    need_root()
    done = []
    monkeypatch.setattr(deploy, "keep_memory_private", lambda: done.append("private"))
    place.config.unlink()
    place.run(expect=2)
    assert done == ["private"]


# -- what is shown -----------------------------------------------------------------------------------------------------


def test_each_is_shown_with_what_became_of_it(place: DeployPlace) -> None:
    """In order; one that does not use the set says why, and the exit code says that there is one."""
    need_root()
    place.hook("10-good")
    place.hook("20-bad", f"test -e {place.path}/mended")
    ran = place.run(expect=1)
    assert ran.out.splitlines() == [
        f"ok      copy {place.copy}",
        "ok      hook 10-good",
        "failed  The hook 20-bad failed: it ended with exit code 1.",
    ]

    (place.path / "mended").touch()
    assert "failed" not in place.run(expect=0).out
    assert place.ran == ["10-good again", "20-bad again", "20-bad again"]


def test_a_program_is_shown_the_report(place: DeployPlace) -> None:
    """As one JSON object."""
    need_root()
    place.hook("20-bad", "exit 3")
    (line,) = place.run("--json", expect=1).out.splitlines()
    shown: dict[str, Any] = json.loads(line)

    assert (shown["event"], shown["generation"]) == ("dependants", 1)
    assert [step["name"] for step in shown["steps"]] == [f"copy {place.copy}", "hook 20-bad"]
    assert shown["steps"][1]["problem"] == "The hook 20-bad failed: it ended with exit code 3."


def test_afresh_is_for_everybody(place: DeployPlace) -> None:
    """Also those who use the set."""
    need_root()
    place.hook("10-first")
    for arguments in ((), (), ("--afresh",)):
        place.run(*arguments, expect=0)
    assert place.ran == ["10-first again"] * 2


def test_without_dependants_there_is_nothing_to_do(place: DeployPlace) -> None:
    """It is said, and no mistake."""
    need_root()
    place.configure("")
    assert place.run(expect=0).out == "No dependants are configured.\n"
    assert json.loads(place.run("--json", expect=0).out) == {"event": "dependants"}
    assert place.untouched


@pytest.mark.parametrize(("what", "code"), [("configuration", 2), ("set", 4), ("damage", 1)])
def test_what_is_wrong_is_told_with_its_exit_code(place: DeployPlace, what: str, code: int) -> None:
    """Nothing is done, and no traceback is shown."""
    need_root()
    if what == "configuration":
        place.configure("copies: [{to: relative, content: chain}]\n")
    elif what == "set":
        (place.path / "state" / "current").unlink()
    else:
        (place.path / "state" / "current" / "trust.pem").write_bytes(b"")
    said = place.run(expect=code).err

    assert said.startswith("iot-cert: ")
    assert "defect" not in said
    assert not place.copy.exists()


def test_nothing_secret_is_shown(place: DeployPlace) -> None:
    """Of a key that is copied."""
    need_root()
    place.configure(f"copies: [{{to: {place.copy}, content: key}}]\n")
    shown = place.run("--json", expect=0)
    line = place.copy.read_text().splitlines()[1]
    assert line not in shown.out + shown.err + (place.path / "deploy" / "report.json").read_text()


# -- the helper --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listen", [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "0"}])
def test_only_systemd_makes_it_the_helper(
    place: DeployPlace, monkeypatch: pytest.MonkeyPatch, listen: dict[str, str]
) -> None:
    """By hand there is no socket, nor where the words are for another process."""
    need_root()
    for key, value in listen.items():
        monkeypatch.setenv(key, value)
    if listen.get("LISTEN_FDS") == "0":
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    said = place.run("--serve", expect=4).err
    assert "--serve is for systemd, which hands the socket over." in said
    assert place.untouched


def test_a_helper_without_systemds_library_says_so(place: DeployPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no way to the socket."""
    need_root()
    monkeypatch.setattr(service_manager, "systemd", None)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    said = place.run("--serve", expect=4).err
    assert "Systemd is told nothing and its sockets are not used" in said
    assert place.untouched


@contextmanager
def helper(place: DeployPlace) -> Iterator[subprocess.Popen[str]]:
    """Start the helper as systemd does, with a socket as its descriptor 3; no other process has that open."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.path / "socket"))
        listener.listen()
        process = subprocess.Popen(
            [
                sys.executable,
                "-ISc",
                HAND_OVER,
                str(listener.fileno()),
                *COMMAND,
                "--config",
                str(place.config),
                "deploy",
                "--serve",
            ],
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_the_helper_serves_by_the_configuration_as_it_is_now(place: DeployPlace) -> None:
    """For the word that it is given; what went wrong is in the journal, too."""
    need_root()
    give(place.path / "state", NOBODY)
    place.hook("10-first")
    asked = Helper(place.path / "socket")
    with helper(place) as process:
        assert asked.ask(Occasion.ACTIVATED).problems == ()
        place.hook("20-bad", "exit 3")
        (bad,) = asked.ask(Occasion.ROLLED_BACK).problems
        place.configure("copies: [{to: relative, content: chain}]\n")
        with pytest.raises(CloudError, match="an absolute path is expected"):
            asked.ask(Occasion.AGAIN)
        process.terminate()
        _, journal = process.communicate(timeout=PATIENCE)

    assert place.ran == ["10-first activated", "20-bad rolled-back"]
    assert bad.problem == "The hook 20-bad failed: it ended with exit code 3."
    assert journal == f"{bad.problem}\n"


def test_the_helper_does_nothing_by_a_configuration_that_others_may_change(place: DeployPlace) -> None:
    """Each time anew."""
    need_root()
    place.hook("10-first")
    with helper(place):
        place.config.chmod(0o666)
        with pytest.raises(CloudError, match="so root does nothing by") as caught:
            Helper(place.path / "socket").ask(Occasion.ACTIVATED)
        assert not caught.value.failure.decisive
        assert place.untouched
        place.config.chmod(0o644)
        assert Helper(place.path / "socket").ask(Occasion.ACTIVATED).problems == ()
    assert place.ran == ["10-first activated"]


def test_the_helper_ends_when_no_peer_asks(place: DeployPlace) -> None:
    """And is done, for systemd to start it again."""
    need_root()
    with helper(place) as process:
        assert process.wait(PATIENCE) == 0
    assert place.untouched
