"""Serving dependants: in order, once for each set, and so that no program is left on a set that is in no report."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lasting import Lasting
from agent.core.change.lifecycle import Phase
from agent.core.dependants import Content, Format, Hooks, Occasion, Signal, Unit, Verification
from agent.crypto.x509 import read_chain
from agent.dependants.report_file import REPORT, last_report
from agent.store.store import Store
from agent.system.children import ENVIRONMENT
from support import make
from support.running.fleet import until
from support.running.systemd import ME, THING, give, go_back, lay, tls_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


from support.shorthand.dependants import NAME, OTHER, PASSWORD, House
from support.suite.surroundings import NOBODY

pytestmark = pytest.mark.root


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
        store.save_change(
            make.record(Phase.ACTIVE, id="c-2", reason="job j-1:\n\x1b[2Jit is due " + "x" * 900), Lasting.NOW
        )
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
