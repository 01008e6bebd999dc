"""Serving dependants: in order, once for each set, and so that no program is left on a set that is in no report."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import stat
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.dependants import (
    LONGEST,
    Content,
    Copy,
    Dependants,
    Format,
    Hooks,
    Occasion,
    OnFailure,
    Report,
    Signal,
    Unit,
    UnitAction,
    Verification,
    encode_report,
)
from agent.core.failure.failure import FailureClass
from agent.crypto.x509 import read_chain
from agent.dependants import deployer as module
from agent.dependants import export as reading
from agent.dependants.deployer import Deployer
from agent.dependants.report_file import REPORT, last_report
from agent.errors import AgentError, CloudError, RefusedError, StoreBusyError
from agent.store import durable
from agent.store.store import Store
from agent.system import programs
from agent.system.programs import ENVIRONMENT
from support import make
from support.fleet import until
from support.systemd import ME, NOBODY, THING, Systemctl, give, go_back, lay, open_place, tls_server
from support.virtual import Time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from support.systemd import Laid

NAME, OTHER = "mosquitto.service", "nginx.service"
PASSWORD = "correct horse 42"  # noqa: S105 - that is what it is

pytestmark = pytest.mark.root


class House:
    """A gateway's directories, its systemd, and what is configured.

    Attributes:
        place: Where all of it is.
        directory: Where the report lies.
        copies: Those that are configured.
        units: Likewise.
        signals: Likewise.
        hooks: Where hooks are, whose they are and what becomes of a change.
        laid: The first set.
    """

    laid: Laid

    def __init__(self, place: Path) -> None:
        self.place = place
        self.state = place / "state"
        self.directory = place / "deploy"
        self.systemctl = Systemctl(place)
        self.copies: tuple[Copy, ...] = ()
        self.units: tuple[Unit, ...] = ()
        self.signals: tuple[Signal, ...] = ()
        self.hooks = Hooks(directory=place / "hooks.d")
        self.hooks.directory.mkdir()
        self.log = place / "log"
        self.log.touch()
        self.log.chmod(0o666)

    @property
    def deployer(self) -> Deployer:
        """Who serves them, as a fresh process would."""
        dependants = Dependants(copies=self.copies, hooks=self.hooks, signals=self.signals, units=self.units)
        return Deployer(dependants, self.state, self.directory, systemd=self.systemctl.systemd)

    def serve(self, occasion: Occasion = Occasion.AGAIN, *, afresh: bool = False) -> Report:
        """Serve them."""
        return self.deployer.serve(occasion, afresh=afresh)

    def hook(self, name: str, script: str = "") -> None:
        """Have a hook that writes its name down, and then does something."""
        path = self.hooks.directory / name
        path.write_text(f"#!/bin/sh\necho $(basename $0) >> {self.log}\n{script}\n")
        path.chmod(0o755)

    def unit(self, name: str = NAME, **values: str) -> None:
        """Have a unit that runs, and is looked at once."""
        self.systemctl.has(name, **values)
        self.units = (*self.units, Unit(name=name, healthy=timedelta(0)))

    def copy(self, name: str = "copy.pem", content: Content = Content.CHAIN, form: Format = Format.PEM) -> Path:
        """Have a copy, and return where."""
        to = self.place / name
        password = self.place / "password" if form is Format.PKCS12 else None
        self.copies = (*self.copies, Copy(to=to, content=content, format=form, password_file=password))
        return to

    @property
    def ran(self) -> list[str]:
        """The hooks that ran, and what else was written down."""
        return self.log.read_text().split()

    def problems(self, report: Report) -> dict[str, str]:
        """Return who does not use the set, and why."""
        return {step.name: step.problem for step in report.problems}


@pytest.fixture(name="house")
def _house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr("agent.dependants.units.LOOK", 0.02)
    monkeypatch.setattr("agent.dependants.deployer.SPACING", timedelta(0))
    with open_place() as place:
        house = House(place)
        house.laid = lay(house.state, 1)
        yield house


def sleeps() -> str:
    """Return what lets a hook take its time."""
    return "sleep 0.3"


# -- what is done ------------------------------------------------------------------------------------------------------


def test_copies_come_before_hooks_and_hooks_before_units(house: House) -> None:
    """A program that is told reads files that are there; units last, since a hook may write what they read."""
    to = house.copy()
    house.hook("20-second", f"test -s {to} && echo copied >> {house.log}")
    house.hook("10-first")
    house.unit(run=f"echo unit >> {house.log}")
    house.unit(OTHER, run=f"echo other >> {house.log}")
    report = house.serve(Occasion.ACTIVATED)

    assert house.ran == ["10-first", "20-second", "copied", "unit", "other"]
    assert [step.name for step in report.steps] == [f"copy {to}", "hook 10-first", "hook 20-second", NAME, OTHER]
    assert report.problems == ()
    assert (report.generation, len(report.set)) == (1, 64)
    assert last_report(house.directory) == report


def test_a_program_is_sent_its_signal_once_for_each_set(house: House) -> None:
    """After hooks, before units; one that was not told is tried again."""
    path = house.place / "app.pid"
    trap = f'trap "echo signal >> {house.log}" HUP; echo; while :; do sleep 0.01; done'
    with subprocess.Popen(["/bin/dash", "-c", trap], stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None
            program.stdout.readline()
            house.signals = (Signal(pid_file=path, process="dash", healthy=timedelta(0)),)
            path.write_text("no number")
            assert list(house.problems(house.serve())) == [f"signal {path}"]
            assert house.ran == []

            path.write_text(f"{program.pid}")
            assert house.serve().problems == ()
            until(lambda: house.ran == ["signal"], "the signal")
            house.hook("10-first")
            house.unit(run=f"echo unit >> {house.log}")
            names = [step.name for step in house.serve().steps]
            assert names == ["hook 10-first", f"signal {path}", NAME]
            assert house.ran == ["signal", "10-first", "unit"]
        finally:
            program.kill()


def test_with_no_dependant_the_report_is_empty(house: House) -> None:
    """A missing directory of hooks is none."""
    house.hooks.directory.rmdir()
    assert house.serve().steps == ()


@pytest.mark.parametrize("occasion", list(Occasion))
def test_a_hook_is_told_where_things_are_and_why_it_runs(house: House, occasion: Occasion) -> None:
    """Exactly that, and nothing that this process has in its own environment."""
    house.hook("10-look", f"cp /proc/$$/environ {house.place}/environment")
    house.serve(occasion)

    lines = (house.place / "environment").read_text().split("\0")
    leaf = read_chain(house.laid.leaf_pem)[0][0]
    current = house.state / "current"
    assert dict(line.split("=", 1) for line in lines if line) == {
        **ENVIRONMENT,
        "HOME": "/root",
        "USER": ME,
        "IOT_CERT_KIND": "rotate",
        "IOT_CERT_CHANGE": "c-1",
        "IOT_CERT_REASON": "",
        "IOT_CERT_SERIAL": leaf.serial,
        "IOT_CERT_EXPIRES": f"{leaf.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "IOT_CERT_PREVIOUS_GENERATION": "",
        "IOT_CERT_PHASE": occasion.value,
        "IOT_CERT_GENERATION": "1",
        "IOT_CERT_THING": THING,
        "IOT_CERT_CERTIFICATE_ID": house.laid.certificate_id,
        "IOT_CERT_KEY": str(current / "key.pem"),
        "IOT_CERT_CERTIFICATE": str(current / "certificate.pem"),
        "IOT_CERT_ANCHORS": str(current / "trust.pem"),
    }
    assert all((current / name).is_file() for name in ("key.pem", "certificate.pem", "trust.pem"))


def test_a_hook_is_told_of_the_change_and_of_the_set_before(house: House) -> None:
    """The reason is a person's or a job's text: one line of it, whatever it holds."""
    lay(house.state, 2)
    with Store(house.state) as store:
        store.lock()
        store.save_change(make.record(Phase.ACTIVE, id="c-2", reason="job j-1:\n\x1b[2Jit is due " + "x" * 900))
    house.hook("10-look", f"cp /proc/$$/environ {house.place}/environment")
    house.serve()

    told = dict(line.split("=", 1) for line in (house.place / "environment").read_text().split("\0") if line)
    assert told["IOT_CERT_REASON"].startswith("job j-1:  [2Jit is due xxx")
    assert len(told["IOT_CERT_REASON"]) == 500
    assert (told["IOT_CERT_CHANGE"], told["IOT_CERT_PREVIOUS_GENERATION"]) == ("c-2", "1")


def test_hooks_run_as_whom_is_configured(house: House) -> None:
    """With that user's home; an unknown one is a problem."""
    house.hooks = Hooks(directory=house.hooks.directory, user="nobody")
    house.hook("10-who", f"id -u >> {house.log}; id -g >> {house.log}; echo $USER $HOME >> {house.log}")
    house.serve()
    assert house.ran[:4] == ["10-who", str(NOBODY), str(NOBODY), "nobody"]

    house.hooks = Hooks(directory=house.hooks.directory, user="no-such-body")
    house.hook("20-none")
    problems = house.problems(house.serve())
    assert problems == {"hook 20-none": f"{house.hooks.directory}/20-none is not run: there is no user no-such-body."}


def test_a_directory_of_another_user_serves_as_well(house: House) -> None:
    """As on every gateway where the agent is not root: the report is the same."""
    to = house.copy(content=Content.PAIR)
    house.hook("10-first")
    house.unit()
    give(house.state, NOBODY)
    report = house.serve()

    assert report.problems == ()
    assert b"PRIVATE KEY" in to.read_bytes()
    assert house.systemctl.orders == [("try-reload-or-restart", NAME)]


# -- once for each set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("occasion", list(Occasion))
def test_no_dependant_is_served_twice_for_one_set(house: House, occasion: Occasion) -> None:
    """However often and why ever it is asked."""
    to = house.copy(content=Content.PAIR)
    (house.place / "password").write_text(f"{PASSWORD}\n")
    (house.place / "password").chmod(0o600)
    boxed = house.copy("copy.p12", Content.PAIR, Format.PKCS12)
    house.hook("10-first")
    house.unit()
    first = house.serve(Occasion.ACTIVATED)
    inodes = (to.stat().st_ino, boxed.stat().st_ino)
    for _ in range(3):
        again = house.serve(occasion)
        assert (again.steps, again.written) == (first.steps, first.written)

    assert house.ran == ["10-first"]
    assert house.systemctl.orders == [("try-reload-or-restart", NAME)]
    assert (to.stat().st_ino, boxed.stat().st_ino) == inodes


def test_a_look_that_finds_nothing_new_writes_nothing(house: House) -> None:
    """There is one each hour, and flash wears out."""
    house.copy()
    house.unit()
    house.serve(Occasion.ACTIVATED)
    before = (house.directory / REPORT).stat()
    house.serve(Occasion.AGAIN)

    after = (house.directory / REPORT).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_set_is_served_to_everybody(house: House) -> None:
    """And the one from before again, when it comes back."""
    to = house.copy(content=Content.CERTIFICATE)
    house.hook("10-first", f"echo $IOT_CERT_GENERATION $IOT_CERT_PHASE >> {house.log}")
    house.unit()
    house.serve(Occasion.ACTIVATED)
    second = lay(house.state, 2)
    house.serve(Occasion.ACTIVATED)
    assert to.read_bytes().split() == second.leaf_pem.split()
    go_back(house.state, 1)
    house.serve(Occasion.ROLLED_BACK)

    assert house.ran == ["10-first", "1", "activated", "10-first", "2", "activated", "10-first", "1", "rolled-back"]
    assert len(house.systemctl.orders) == 3
    assert to.read_bytes().split() != second.leaf_pem.split()


def test_another_generation_of_the_same_set_is_nothing_new(house: House) -> None:
    """What counts is what dependants can see of it."""
    house.hook("10-first")
    house.unit()
    laid = lay(house.state, 2)
    house.serve(Occasion.ACTIVATED)
    lay(house.state, 3, like=laid)
    house.serve(Occasion.ACTIVATED)

    assert house.ran == ["10-first"]
    assert len(house.systemctl.orders) == 1


def test_a_new_dependant_is_served(house: House) -> None:
    """A hook, a unit and a copy that were configured since; the others are left alone, where no copy is new."""
    house.hook("10-first")
    house.unit()
    house.serve()
    house.hook("05-new")
    house.unit(OTHER)
    house.serve()
    assert (house.ran, [name for _, name in house.systemctl.orders]) == (["10-first", "05-new"], [NAME, OTHER])

    assert house.copy().name in house.serve().steps[0].name
    assert (house.place / "copy.pem").exists()


def test_afresh_serves_everybody(house: House) -> None:
    """Also those who use the set, for a technician who does not believe it."""
    house.hook("10-first")
    house.unit()
    house.serve()
    assert house.serve(afresh=True).problems == ()

    assert house.ran == ["10-first"] * 2
    assert len(house.systemctl.orders) == 2


# -- when it does not work ---------------------------------------------------------------------------------------------


def test_who_failed_is_tried_again_and_who_did_not_is_left_alone(house: House) -> None:
    """Until it works, whichever it is; those after it are served all the same."""
    house.hook("10-good")
    house.hook("20-bad", f"test -e {house.place}/mended")
    house.hook("30-good")
    house.unit(NAME, exit="1")
    house.unit(OTHER)
    problems = house.problems(house.serve(Occasion.ACTIVATED))
    assert problems["hook 20-bad"] == "The hook 20-bad failed: it ended with exit code 1."
    assert list(problems) == ["hook 20-bad", NAME]
    assert list(house.problems(house.serve())) == ["hook 20-bad", NAME]

    (house.place / "mended").touch()
    house.systemctl.forget(NAME, "exit")
    assert house.serve().problems == ()
    assert house.serve().problems == ()
    assert house.ran == ["10-good", "20-bad", "30-good", "20-bad", "20-bad"]
    assert [name for _, name in house.systemctl.orders] == [NAME, OTHER, NAME, NAME]


def test_a_copy_that_failed_is_tried_again(house: House) -> None:
    """And once it is written, each that may read it is served again."""
    to = house.copy("certs/copy.pem")
    house.hook("10-first")
    house.unit()
    assert list(house.problems(house.serve())) == [f"copy {to}"]
    assert list(house.problems(house.serve())) == [f"copy {to}"]
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"], 1)

    to.parent.mkdir()
    assert house.serve().problems == ()
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"] * 2, 2)


def test_a_copy_that_never_works_has_no_dependant_served_again_and_again(house: House) -> None:
    """A directory in its place is found only when it is to be moved there."""
    to = house.copy()
    to.mkdir()
    house.hook("10-first")
    house.unit()
    for _ in range(3):
        assert list(house.problems(house.serve())) == [f"copy {to}"]
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"], 1)


def test_a_copy_that_cannot_be_made_keeps_no_other_away(house: House) -> None:
    """As one without a password."""
    boxed, plain = house.copy("copy.p12", Content.PAIR, Format.PKCS12), house.copy()
    house.hook("10-first")
    house.unit()
    problems = house.problems(house.serve())

    assert list(problems) == [f"copy {boxed}"]
    assert f"{house.place}/password" in problems[f"copy {boxed}"]
    assert (plain.exists(), house.ran, len(house.systemctl.orders)) == (True, ["10-first"], 1)


def test_a_hook_that_must_not_be_run_is_not(house: House) -> None:
    """No other user's words become root's deeds."""
    house.hook("10-open")
    (house.hooks.directory / "10-open").chmod(0o777)
    problems = house.problems(house.serve())

    assert "10-open is not run" in problems["hook 10-open"]
    assert house.ran == []


def test_hooks_behind_another_users_link_are_not_run(house: House) -> None:
    """Its owner could have it lead to root's at the look, and to their own right after; others are served."""
    house.hook("10-first")
    house.unit()
    link = house.place / "link"
    link.symlink_to(house.hooks.directory)
    os.lchown(link, NOBODY, NOBODY)
    house.hooks = replace(house.hooks, directory=link)
    problems = house.problems(house.serve())

    assert problems == {"hook 10-first": f"{link} belongs to nobody and not to root, so 10-first is not run."}
    assert (house.ran, len(house.systemctl.orders)) == ([], 1)


@pytest.mark.parametrize("owner", [os.geteuid(), NOBODY])
def test_a_password_that_is_no_text_keeps_no_other_away(house: House, owner: int) -> None:
    """Its copy alone is not written, whichever user reads the set."""
    give(house.state, owner)
    (house.place / "password").write_bytes(b"caf\xe9\n")
    (house.place / "password").chmod(0o600)
    boxed, plain = house.copy("copy.p12", Content.PAIR, Format.PKCS12), house.copy()
    house.unit()
    problems = house.problems(house.serve())

    assert problems == {
        f"copy {boxed}": f"{boxed} is not written: The password in {house.place}/password must be UTF-8 text."
    }
    assert (boxed.exists(), plain.exists(), len(house.systemctl.orders)) == (False, True, 1)


def test_where_modes_are_ignored_no_dependant_is_served_again_and_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on vfat: the copy is a problem, and is not there for everybody to read."""
    change = os.fchmod
    to = house.copy("key.pem", Content.KEY)
    house.hook("10-first")
    house.unit()
    monkeypatch.setattr(os, "fchmod", lambda fd, _: change(fd, 0o755))
    for _ in range(3):
        assert list(house.problems(house.serve())) == [f"copy {to}"]

    assert not to.exists()
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"], 1)


def test_too_many_hooks_are_one_problem(house: House) -> None:
    """And units are served all the same."""
    for number in range(17):
        house.hook(f"{number:02d}")
    house.unit()
    problems = house.problems(house.serve())

    assert (list(problems), house.ran, len(house.systemctl.orders)) == (["hooks"], [], 1)


def test_a_hook_that_takes_too_long_is_ended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its own time."""
    monkeypatch.setattr("agent.system.programs.GRACE", 0.2)
    house.hooks = Hooks(directory=house.hooks.directory, timeout=timedelta(seconds=0.2))  # the hook need not even begin
    house.hook("10-slow", "sleep 600")
    assert "took longer" in house.problems(house.serve())["hook 10-slow"]


def test_together_they_have_a_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are not come to say so, and are served the next time."""
    house.hooks = replace(house.hooks, timeout=2 * LONGEST)
    house.hook("10-slow")
    house.hook("20-late")
    house.unit()
    with monkeypatch.context() as patched:
        slow_programs(patched, LONGEST.total_seconds())
        problems = house.problems(house.serve(Occasion.ACTIVATED))
    assert list(problems) == ["hook 20-late", NAME]
    assert all(said.startswith(f"{name} was not come to: ") for name, said in problems.items())
    assert house.systemctl.calls == []

    assert house.serve().problems == ()
    assert house.ran == ["10-slow", "20-late"]


def slow_programs(monkeypatch: pytest.MonkeyPatch, seconds: float) -> tuple[Time, list[float]]:
    """Let each program take so much time, or all that it is given if that is less; tell what each was given."""
    time, given, really = Time(monkeypatch), list[float](), programs.run

    def run(command: Sequence[str], timeout: float, **rest: Any) -> str:
        given.append(timeout)
        time.advance(min(seconds, timeout))
        return really(command, 60, **rest) if seconds < timeout else "it took longer than it was given and was ended"

    monkeypatch.setattr(programs, "run", run)
    return time, given


@pytest.mark.parametrize("who", ["hook", "unit", "health"])
def test_the_last_one_takes_no_more_than_is_left(house: House, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    """And a little: whatever its own time is, the agent waits for its answer, and may have to go back."""
    most = (LONGEST + module.OVERTIME).total_seconds()
    longer = timedelta(hours=2)
    if who == "hook":
        house.hooks = replace(house.hooks, timeout=longer)
        house.hook("10-slow")
        house.hook("20-late")
    else:
        house.systemctl.has(NAME)
        house.systemctl.has(OTHER)
        slow = Unit(name=NAME, timeout=longer) if who == "unit" else Unit(name=NAME, healthy=longer)
        house.units = (slow, Unit(name=OTHER))
    monkeypatch.setattr("agent.dependants.units.LOOK", most)
    time, given = slow_programs(monkeypatch, 0 if who == "health" else longer.total_seconds())
    began = time.now
    problems = house.problems(house.serve(Occasion.ACTIVATED))

    assert time.now - began == pytest.approx(most)
    assert who == "health" or given == [pytest.approx(most)]
    last = "hook 20-late" if who == "hook" else OTHER
    assert problems[last].startswith(f"{last} was not come to: the others took more than ")
    assert len(problems) == (1 if who == "health" else 2)


@pytest.mark.parametrize("who", ["copy", "hook", "unit"])
@pytest.mark.parametrize("on_failure", list(OnFailure))
def test_who_takes_a_change_back_is_configured_for_each(house: House, who: str, on_failure: OnFailure) -> None:
    """The failure decides, or it does not."""
    if who == "copy":
        to = house.place / "gone" / "copy"
        house.copies = (Copy(to=to, content=Content.CHAIN, on_failure=on_failure),)
    elif who == "hook":
        house.hooks = Hooks(directory=house.hooks.directory, on_failure=on_failure)
        house.hook("10-bad", "exit 1")
    else:
        house.units = (Unit(name=NAME, on_failure=on_failure),)
    with pytest.raises(CloudError) as caught:
        house.deployer.take_up(Occasion.ACTIVATED)

    assert caught.value.failure.kind is FailureClass.DEPENDANT
    assert caught.value.failure.decisive == (on_failure is OnFailure.ROLL_BACK)


def test_where_there_is_no_set_to_serve_all_are_named(house: House) -> None:
    """What the change goes on without is told with the names."""
    house.copies = (Copy(to=house.place / "copy", content=Content.CHAIN),)
    house.hook("10-good")
    house.unit()
    (house.state / "current").unlink()
    with pytest.raises(CloudError) as caught:
        house.deployer.take_up(Occasion.ACTIVATED)

    assert str(caught.value).startswith("The dependants could not be served: ")
    assert str(caught.value).endswith(f" Not served: copy {house.place / 'copy'}, hook 10-good, {NAME}.")


def test_when_all_use_the_set_nothing_is_raised(house: House) -> None:
    """The change goes on."""
    house.hooks = Hooks(directory=house.hooks.directory, on_failure=OnFailure.ROLL_BACK)
    house.hook("10-good")
    house.deployer.take_up(Occasion.ACTIVATED)


def test_without_a_set_no_dependant_is_served_and_nothing_is_decided(house: House) -> None:
    """Whatever is wrong with it, no dependant has refused it."""
    house.hooks = Hooks(directory=house.hooks.directory, on_failure=OnFailure.ROLL_BACK)
    house.hook("10-good")
    (house.state / "current" / "trust.pem").write_bytes(b"")
    with pytest.raises(AgentError, match="Generation 1 is damaged"):
        house.serve()
    with pytest.raises(CloudError, match="could not be served: Generation 1 is damaged") as caught:
        house.deployer.take_up(Occasion.ACTIVATED)
    assert (caught.value.failure.decisive, house.ran) == (False, [])


# -- sets that come and go ---------------------------------------------------------------------------------------------


def switch(house: House, times: int) -> None:
    """Have generation 1 and 2 served in turns; 1 is first."""
    for number in range(times):
        go_back(house.state, 1 + number % 2)
        house.serve()


@pytest.fixture(name="flooded")
def _flooded(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A gateway with a copy, a hook and a unit, on which the set has changed as often as it may; 1 is served."""
    monkeypatch.setattr(module, "MAX_SWITCHES", 3)
    house.copy()
    house.hook("10-first")
    house.unit()
    lay(house.state, 2)
    switch(house, 3)
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"] * 3, 3)
    return house


def age(house: House, by: timedelta) -> Report:
    """Let the clock have gone on since the sets were switched, or back; return the report as it is then."""
    report = last_report(house.directory)
    assert report is not None
    report = replace(report, switched=tuple(at - by for at in report.switched))
    (house.directory / REPORT).write_bytes(encode_report(report))
    return report


def test_sets_that_come_and_go_are_not_served_without_end(flooded: House) -> None:
    """A user who moves the link to and fro has no unit restarted more often than rotations would, nor anything written.

    It is said, it decides nothing, and those who have the set in use are looked after as before.
    """
    before, content = last_report(flooded.directory), (flooded.place / "copy.pem").read_bytes()
    go_back(flooded.state, 2)
    for occasion in Occasion:
        with pytest.raises(RefusedError, match=r"^The set in use has changed 3 times within 10 min, .+\.$") as refused:
            flooded.serve(occasion)
        assert "iot-cert history" in refused.value.hint
        with pytest.raises(CloudError, match="could not be served: The set in use has changed 3 times") as caught:
            flooded.deployer.take_up(occasion)
        assert (caught.value.failure.kind, caught.value.failure.decisive) == (FailureClass.DEPENDANT, False)
    assert (flooded.ran, len(flooded.systemctl.orders)) == (["10-first"] * 3, 3)
    assert (last_report(flooded.directory), (flooded.place / "copy.pem").read_bytes()) == (before, content)

    go_back(flooded.state, 1)
    (flooded.place / "copy.pem").unlink()
    assert flooded.serve().problems == ()
    assert (flooded.place / "copy.pem").read_bytes() == content


def test_old_switches_are_forgotten(flooded: House) -> None:
    """A set that comes later is served, and they are not kept for ever."""
    age(flooded, module.SWITCHING - timedelta(minutes=1))
    go_back(flooded.state, 2)
    with pytest.raises(RefusedError):
        flooded.serve()
    age(flooded, timedelta(minutes=1))
    report = flooded.serve()

    assert (report.generation, report.problems, len(report.switched)) == (2, (), 1)
    assert len(flooded.systemctl.orders) == 4


@pytest.mark.parametrize("by", [timedelta(days=-400), timedelta(minutes=-1), timedelta(days=400)])
def test_a_clock_that_is_set_locks_no_dependant_out(
    flooded: House, monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    """What was noted lies in its future, or far behind it: neither counts, nor is waited for."""
    monkeypatch.setattr(module, "SPACING", timedelta(minutes=5))
    age(flooded, by)
    go_back(flooded.state, 2)

    assert (flooded.serve().generation, len(flooded.systemctl.orders)) == (2, 4)


def test_the_same_set_is_no_switch(flooded: House) -> None:
    """However often it is looked at, and whichever is new or fails; another generation of it is none either."""
    before = age(flooded, timedelta(0))
    flooded.systemctl.has(OTHER, exit="1")
    flooded.units = (*flooded.units, Unit(name=OTHER, healthy=timedelta(0)))
    for occasion in Occasion:
        report = flooded.serve(occasion)
        assert (list(flooded.problems(report)), report.switched) == ([OTHER], before.switched)


def test_a_technician_is_not_kept_from_it(flooded: House) -> None:
    """Afresh, everybody is served whatever was before."""
    go_back(flooded.state, 2)
    assert flooded.serve(afresh=True).problems == ()


def test_between_two_switches_there_is_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or systemd would start a unit no more; for the first set, and for the same again, there is no wait."""
    waits: list[float] = []
    monkeypatch.setattr("agent.system.clock.sleep", waits.append)
    monkeypatch.setattr(module, "SPACING", timedelta(minutes=5))
    house.copy()
    switch(house, 1)
    house.serve(Occasion.ACTIVATED)
    assert waits == []

    lay(house.state, 2)
    house.serve(Occasion.ACTIVATED)
    assert waits == [pytest.approx(300, abs=60)]


def test_that_time_is_waited_before_a_dependant_is_given_the_set(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one to the next."""
    spacing = timedelta(seconds=0.3)
    monkeypatch.setattr(module, "SPACING", spacing)
    lay(house.state, 2)
    house.hook("10-when", f"date +%s.%N >> {house.log}")
    switch(house, 3)

    report = last_report(house.directory)
    assert report is not None
    first, second, third = report.switched
    assert min(second - first, third - second) >= spacing
    assert all(float(at) >= by.timestamp() for at, by in zip(house.ran[1::2], report.switched, strict=True))


def test_another_generation_of_the_same_set_is_noted(house: House) -> None:
    """Else the daemon would think that no dependant was served it; those who use the set are left alone."""
    house.hook("10-first")
    laid = lay(house.state, 2)
    first = house.serve(Occasion.ACTIVATED)
    lay(house.state, 3, like=laid)
    report = house.serve(Occasion.AGAIN)

    assert (report.generation, report.set, report.steps) == (3, first.set, first.steps)
    assert last_report(house.directory) == report
    assert house.ran == ["10-first"]


# -- what others do to copies and servers ------------------------------------------------------------------------------


def _damage(path: Path) -> None:
    path.write_bytes(b"junk")


def _open_up(path: Path) -> None:
    path.chmod(0o666)


def _remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [_damage, _open_up, _remove])
def test_when_a_copy_is_put_right_everybody_is_served_again(house: House, harm: Callable[[Path], None]) -> None:
    """A program that read the damaged one has to read it again; then it is quiet."""
    to = house.copy()
    house.hook("10-first")
    house.unit()
    house.serve(Occasion.ACTIVATED)
    content = to.read_bytes()
    harm(to)
    for _ in range(2):
        assert house.serve().problems == ()

    assert to.read_bytes() == content
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"] * 2, 2)


def test_a_server_that_falls_back_to_the_old_certificate_is_served_again(house: House) -> None:
    """It is asked at each look, since a person may have restored its files."""
    first = lay(house.state, 2)
    second = lay(house.state, 3)
    pair = house.place / "pair.pem"
    pair.write_bytes(second.key_pem + second.chain_pem)
    with tls_server(pair) as address:
        house.systemctl.has(NAME)
        house.units = (Unit(name=NAME, healthy=timedelta(0), verify=Verification(tls=address)),)
        assert house.serve().problems == ()
        assert house.serve().problems == ()
        assert len(house.systemctl.orders) == 1

        pair.write_bytes(first.key_pem + first.chain_pem)
        new = house.place / "new.pem"
        new.write_bytes(second.key_pem + second.chain_pem)
        house.systemctl.has(NAME, run=f"cp {new} {pair}")
        assert house.serve().problems == ()
        assert len(house.systemctl.orders) == 2


# -- crashes -----------------------------------------------------------------------------------------------------------


def killed_by(house: House, occasion: Occasion) -> bool:
    """Serve in another process, and return whether it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            house.serve(occasion)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_a_crash_leaves_no_dependant_on_a_set_that_is_in_no_report(house: House) -> None:
    """After a rollback those who were given the new set get the old one again, although they had it before."""
    house.hook("10-first", f"echo $IOT_CERT_GENERATION >> {house.log}")
    house.hook("20-kill", "test $IOT_CERT_GENERATION = 1 || kill -9 $PPID; sleep 0.05")
    house.unit()
    house.serve(Occasion.ACTIVATED)
    lay(house.state, 2)
    assert killed_by(house, Occasion.ACTIVATED)
    go_back(house.state, 1)
    assert house.serve(Occasion.ROLLED_BACK).problems == ()

    assert house.ran == ["10-first", "1", "20-kill", "10-first", "2", "20-kill", "10-first", "1", "20-kill"]
    assert len(house.systemctl.orders) == 2


def test_a_crash_while_units_are_served_again_is_made_up_for(house: House) -> None:
    """A copy was damaged and is put right; killed before its readers were told, they are told after."""
    to = house.copy()
    house.hook("10-kill", f"test -e {house.place}/calm || kill -9 $PPID; sleep 0.05")
    house.unit()
    (house.place / "calm").touch()
    house.serve(Occasion.ACTIVATED)
    (house.place / "calm").unlink()
    to.write_bytes(b"junk")
    assert killed_by(house, Occasion.AGAIN)
    assert len(house.systemctl.orders) == 1

    (house.place / "calm").touch()
    assert house.serve().problems == ()
    assert len(house.systemctl.orders) == 2


def test_a_round_that_was_cut_off_is_begun_anew(house: House) -> None:
    """Its report names none, so all are served; there is no other set, and nothing to wait for."""
    house.copy()
    house.hook("10-first")
    house.unit()
    served = house.serve(Occasion.ACTIVATED)
    (house.directory / REPORT).write_bytes(encode_report(replace(served, steps=(), written={})))
    again = house.serve()

    assert (again.steps, again.switched) == (served.steps, served.switched)
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"] * 2, 2)


def test_a_crash_after_a_copy_is_put_right_is_made_up_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong with it any more at the next look, and yet who read the damaged one has to read it again."""
    to = house.copy()
    house.hook("10-first")
    house.unit()
    house.serve(Occasion.ACTIVATED)
    content = to.read_bytes()
    to.write_bytes(b"junk")
    move = durable.move_in

    def die(directory: int, name: str) -> None:
        move(directory, name)
        if name == to.name:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(durable, "move_in", die)
        assert killed_by(house, Occasion.AGAIN)
    assert (to.read_bytes(), house.ran) == (content, ["10-first"])

    for _ in range(2):
        assert house.serve().problems == ()
    assert (house.ran, len(house.systemctl.orders)) == (["10-first"] * 2, 2)


@contextmanager
def lock(house: House) -> Iterator[None]:
    """Hold the lock, as another process does; its own descriptor is as good as one."""
    fd = os.open(house.directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


@pytest.mark.parametrize("afresh", [True, False])
def test_no_caller_waits_for_ever_for_the_lock(house: House, monkeypatch: pytest.MonkeyPatch, *, afresh: bool) -> None:
    """A person may have stopped a command in another terminal: that is said, and none is served meanwhile."""
    monkeypatch.setattr(module, "TURN", 0.1)
    house.hook("10-first")
    house.serve()
    lay(house.state, 2)
    before = last_report(house.directory)
    with lock(house):
        with pytest.raises(StoreBusyError, match=r"^Another process is serving the dependants\.$") as busy:
            house.serve(afresh=afresh)
        assert "iot-cert deploy" in busy.value.hint
        with pytest.raises(CloudError, match="could not be served: Another process") as caught:
            house.deployer.take_up(Occasion.ACTIVATED)
        assert not caught.value.failure.decisive
        assert (house.ran, last_report(house.directory)) == (["10-first"], before)

    assert house.serve().generation == 2


def test_a_reader_that_is_stopped_holds_no_lock(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the agent's user, who may stop it: killed meanwhile, the one it reads for leaves the lock free."""
    give(house.state, NOBODY)

    def stop(*_: object) -> None:
        fd = os.open(house.log, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"%d\n" % os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr(reading, "_extract", stop)
    reader = left_behind(house)
    try:
        assert is_stopped(reader)
        with lock(house):
            pass
    finally:
        os.kill(reader, signal.SIGKILL)


def left_behind(house: House) -> int:
    """Serve in another process, kill it when its reader has stopped, and return that one."""
    pid = os.fork()
    if pid == 0:
        try:
            house.serve()
        finally:
            os._exit(0)
    try:
        until(lambda: house.ran and is_stopped(int(house.ran[0])), "a reader that is stopped")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return int(house.ran[0])


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_two_at_once_take_turns(house: House) -> None:
    """The second finds everything done."""
    house.hook("10-slow", f"{sleeps()}; echo end >> {house.log}")
    house.unit()
    pids = []
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = len(house.serve().problems)
            finally:
                os._exit(code)
        pids.append(pid)

    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    assert house.ran == ["10-slow", "end"]
    assert len(house.systemctl.orders) == 1


def test_two_at_once_that_both_have_something_to_do_do_not_meet(house: House) -> None:
    """One begins when the other has ended."""
    house.hook("10-slow", f"{sleeps()}; echo end >> {house.log}")
    pids = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            try:
                house.serve(afresh=True)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    assert house.ran == ["10-slow", "end", "10-slow", "end"]


# -- the report --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_any_user_may_read_how_they_stand_and_no_other_may_say_so(house: House, umask: int) -> None:
    """Whatever the umask: the command has a tight one."""
    before = os.umask(umask)
    try:
        house.serve()
    finally:
        os.umask(before)
    assert stat.S_IMODE(house.directory.stat().st_mode) == 0o755
    assert stat.S_IMODE((house.directory / REPORT).stat().st_mode) == 0o644
    assert stat.S_IMODE((house.directory / "lock").stat().st_mode) & 0o022 == 0


def test_nothing_secret_is_in_the_report_or_in_what_is_said(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    """No line of a key, no password, no content of a copy; with everything served, and with everything failing."""
    password = house.place / "password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    lay(house.state, 2)
    for content in Content:
        house.copy(content.value, content)
    house.copy("copy.p12", Content.PAIR, Format.PKCS12)
    house.hook("10-first")
    house.unit(NAME)
    told = [str(house.serve(Occasion.ACTIVATED)), (house.directory / REPORT).read_text()]
    password.write_text(f"{PASSWORD}\n\n")
    for copy in house.copies:
        copy.to.unlink()
        copy.to.mkdir()
    house.systemctl.has(NAME, exit="1")
    told += [str(house.serve(afresh=True)), (house.directory / REPORT).read_text()]
    with pytest.raises(CloudError) as caught:
        house.deployer.take_up(Occasion.ACTIVATED)
    told += [str(caught.value), caught.value.hint, *capfd.readouterr()]

    everything = "\n".join(told)
    keys = [path.read_text() for path in house.state.rglob("key.pem")]
    secrets = [line for key in keys for line in re.findall(r"^[A-Za-z0-9+/=]{20,}$", key, re.MULTILINE)]
    assert len(secrets) >= 4
    assert not [secret for secret in [*secrets, PASSWORD, "BEGIN"] if secret in everything]
    assert set(json.loads(told[1])) == {"at", "generation", "set", "steps", "switched", "traces", "written"}


@pytest.mark.parametrize("harm", ["gone", "garbage", "empty", "large", "link", "directory"])
def test_a_report_that_cannot_be_read_costs_a_reload(house: House, harm: str) -> None:
    """All are served again, and it is written again; a directory in its place is moved away."""
    house.hook("10-first")
    house.unit()
    house.serve()
    path = house.directory / REPORT
    data = path.read_bytes()
    path.unlink()
    if harm == "link":
        (house.place / "elsewhere").write_bytes(data)
        path.symlink_to(house.place / "elsewhere")
    elif harm == "directory":
        path.mkdir()
    elif harm != "gone":
        path.write_bytes({"garbage": b"\xff{", "empty": b"", "large": data + b" " * 1_100_000}[harm])
    assert house.serve().problems == ()

    assert (house.ran, len(house.systemctl.orders)) == (["10-first"] * 2, 2)
    assert not path.is_symlink()
    assert last_report(house.directory) is not None


@pytest.mark.parametrize("name", ["lock", "report.json"])
def test_a_link_or_a_directory_in_place_of_a_file_is_moved_away(house: House, name: str) -> None:
    """Nothing is made elsewhere, and the dependants are served."""
    house.directory.mkdir()
    (house.directory / "lock").symlink_to(house.place / "elsewhere")
    (house.directory / "report.json").mkdir()
    for afresh in (True, False):
        assert house.serve(afresh=afresh).problems == ()
    assert not (house.place / "elsewhere").exists()
    assert (house.directory / name).is_file()


def test_a_hook_with_an_odd_name_is_served_once(house: House) -> None:
    """Its name may be no text at all: the report can be read all the same."""
    house.hook("10-first")
    odd = os.fsencode(house.hooks.directory) + b"/20-\xff\n\x1b[2J"
    os.rename(house.hooks.directory / "10-first", odd)  # noqa: PTH104 - no path can hold that name
    report = house.serve()
    assert report.problems == ()
    assert last_report(house.directory) == report
    house.serve()

    assert house.log.read_bytes().count(b"20-") == 1
    assert all(step.name.isprintable() for step in report.steps)


def test_a_path_of_any_length_can_be_told(house: House) -> None:
    """The kernel takes longer ones than the report has room for."""
    to = house.place.joinpath(*["d" * 200] * 8, "copy.pem")
    house.copies = (Copy(to=to, content=Content.CHAIN),)
    house.unit()
    first = house.serve()

    assert len(first.problems) == 1
    assert last_report(house.directory) == first
    house.serve()
    assert len(house.systemctl.orders) == 1


def test_each_unit_is_told_what_is_configured_for_it(house: House) -> None:
    """Their actions are their own."""
    house.systemctl.has(NAME)
    house.systemctl.has(OTHER)
    house.units = (
        Unit(name=NAME, action=UnitAction.RELOAD, healthy=timedelta(0)),
        Unit(name=OTHER, action=UnitAction.RESTART, healthy=timedelta(0)),
    )
    assert house.serve().problems == ()
    assert house.systemctl.orders == [("reload", NAME), ("try-restart", OTHER)]
