"""Nothing grows faster than its input: a look, the status, serving and a rotation, counted in calls and not in seconds.

What is bounded, such as the history, does not grow at all beyond its bound.
"""

from __future__ import annotations

import resource
import shutil
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest

from agent.config.reader import load
from agent.core import timekeeping
from agent.core.change.lifecycle import good_times
from agent.core.change.records import decode_record, encode_outcome
from agent.core.dependants import Content, Copy, Dependants, Format, Hooks, Occasion, Report, Step, encode_report
from agent.core.report import metrics, notices
from agent.core.report.document import document
from agent.core.report.findings import judge
from agent.core.report.screen import screen
from agent.core.report.seen import WatchedEnd, WatchedFile
from agent.core.when import retirement
from agent.dependants.deployer import Deployer
from agent.dependants.report_file import REPORT
from agent.operations import snapshot
from agent.sandbox.account.authority import Authority
from agent.store.notes import change_log
from support import make
from support.make import DAY, NOW
from support.running.daemon_rig import DaemonRig
from support.running.systemd import ME, Systemctl, lay, open_place
from support.simulated.outside import START
from support.simulated.rig import Rig
from support.suite.counting import calls, grows_no_faster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@cache
def root(number: int) -> bytes:
    """Return one of many trust anchors."""
    return Authority(f"Root {number}", START).pem


def roots(number: int) -> bytes:
    """Return so many trust anchors."""
    return b"".join(map(root, range(number)))


@pytest.fixture(name="rig")
def _rig(tmp_path: Path) -> Iterator[Rig]:
    """A gateway that is enrolled."""
    with closing(Rig(tmp_path / "state")) as rig:
        rig.enroll()
        yield rig


def shown(rig: Rig, more: str = "") -> Callable[[], object]:
    """Return what `iot-cert status` does without a daemon."""
    path = rig.path.parent / "config.yaml"
    path.write_text(f"endpoint: iot.example.com\nstate_dir: {rig.path}\ndeploy_dir: {rig.path.parent}\n{more}")
    config = load(path)

    def show() -> None:
        floors, notes = rig.store.floors(), good_times(rig.store.history())
        clock = timekeeping.read(rig.clock.now(), synchronised=True, floors=floors, notes=notes)
        status = snapshot.status(config, snapshot.look(rig.store, clock))
        document(status), list(screen(status)), metrics.render(status, rig.store.history())

    return show


def test_a_look_at_watched_files(rig: Rig) -> None:
    """A file each, with three certificates."""

    def prepare(number: int) -> Callable[[], object]:
        for item in range(number):
            (rig.path.parent / f"{item}.pem").write_bytes(roots(3))
        entries = "".join(f"  - path: {rig.path.parent}/{item}.pem\n" for item in range(number))
        return shown(rig, f"watch:\n{entries}")

    assert grows_no_faster(prepare, 10)


def test_a_look_at_anchors(rig: Rig) -> None:
    """All in one bundle, which was installed."""

    def prepare(number: int) -> Callable[[], object]:
        rig.install(rig.bundle(rig.root, *(Authority(f"{number}.{item}", START) for item in range(number))))
        return shown(rig)

    assert grows_no_faster(prepare, 10)


def test_a_look_at_dependants(rig: Rig) -> None:
    """All of them behind, so that each is told of, and with a certificate that waits for them."""
    rig.rotate()

    def prepare(number: int) -> Callable[[], object]:
        names = [f"unit-{item}.service" for item in range(number)]
        steps = tuple(Step(name=name, problem=f"{name} has failed.") for name in names)
        report = Report(at=rig.clock.now(), generation=1, set="ab" * 32, steps=steps)
        (rig.path.parent / REPORT).write_bytes(encode_report(report))
        return shown(rig, "dependants:\n" + "".join(f"  - unit: {name}\n" for name in names))

    assert grows_no_faster(prepare, 20)


def write_history(rig: Rig, number: int) -> None:
    """Let the gateway have finished so many changes."""
    last = rig.store.history()[-1]
    lines = (encode_outcome(replace(last, id=f"c-{item}", replaces=f"{item:064x}")) for item in range(number))
    (rig.path / change_log.HISTORY).write_bytes(b"".join(lines))


def test_a_look_at_a_history(rig: Rig) -> None:
    """With a certificate that each change left behind."""

    def prepare(number: int) -> Callable[[], object]:
        write_history(rig, number)
        return shown(rig)

    assert grows_no_faster(prepare, 20)


def test_a_history_beyond_what_is_read_costs_no_more(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand changes are as many as the last few thousand."""
    write_history(rig, 200)
    monkeypatch.setattr(change_log, "MAX_HISTORY", (rig.path / change_log.HISTORY).stat().st_size * 3 // 4)
    full = calls(shown(rig))
    write_history(rig, 2_000)
    assert calls(shown(rig)) <= 1.1 * full


def test_the_daemon_reads_a_history_that_has_not_changed_no_second_time(tmp_path: Path, rig: Rig) -> None:
    """It looks whenever a worker has told of a step."""
    with closing(DaemonRig(tmp_path / "daemon")) as daemon:
        facts = daemon.daemon.facts

        def prepare(number: int) -> Callable[[], object]:
            write_history(rig, number)
            shutil.copy(rig.path / change_log.HISTORY, daemon.config.state_dir)
            facts.refresh()
            return facts.refresh

        assert calls(prepare(400)) <= 1.1 * calls(prepare(10))
        assert len(facts.history) == 10


@pytest.mark.parametrize("number", [10, 300])
def test_a_rotation_does_not_feel_the_history(rig: Rig, number: int) -> None:
    """Every decision looks whether a change is over; the lines are read once for all of them."""
    write_history(rig, number)
    read: list[str] = []

    def counted(data: bytes, what: str) -> object:
        read.append(what)
        return decode_record(data, what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(change_log, "decode_record", counted)
        rig.rotate()
    assert read.count(change_log.HISTORY) <= 3 * (number + 2)


def test_what_a_person_is_told_of_many_findings() -> None:
    """A command that was told of all of them, and of which half are gone by now."""

    def prepare(number: int) -> Callable[[], object]:
        ends = [WatchedEnd(subject=f"CN={item}", sha256=f"{item:064x}", not_after=NOW - DAY) for item in range(number)]
        files = tuple(WatchedFile(path=f"/etc/{end.subject}", warn=DAY, certificates=1, ends=(end,)) for end in ends)
        told = notices.of_findings(judge(make.status(watched=files)).findings)
        return lambda: notices.news(told, told[::2])

    assert grows_no_faster(prepare, 50)


def test_who_is_behind() -> None:
    """Of many dependants, all of which are served."""

    def prepare(number: int) -> Callable[[], object]:
        names = [f"unit-{item}" for item in range(number)]
        report = Report(at=NOW, generation=7, set="ab" * 32, steps=tuple(Step(name=name) for name in names))
        return lambda: retirement.behind(names, report, 7)

    assert grows_no_faster(prepare, 50)


class Served:
    """A gateway whose anchors are copied into directories."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.systemd = Systemctl(place).systemd
        lay(place / "state", 1, trust=roots(30))

    def serve(self, copies: tuple[Copy, ...]) -> Report:
        """Serve copies, all of them anew."""
        dependants = Dependants(copies=copies, hooks=Hooks(directory=self.place / "none.d"))
        deployer = Deployer(dependants, self.place / "state", self.place / "deploy", systemd=self.systemd)
        return deployer.serve(Occasion.AGAIN, afresh=True)

    def copy(self, name: str, form: Format = Format.PEM) -> Copy:
        """Return a copy of the anchors."""
        return Copy(to=self.place / name, content=Content.ANCHORS, format=form, owner=ME)


@pytest.fixture(name="house")
def _house() -> Iterator[Served]:
    with open_place() as place:
        yield Served(place)


@pytest.mark.root
@pytest.mark.parametrize("form", [Format.PEM, Format.HASHED])
def test_serving_copies(house: Served, form: Format) -> None:
    """Each is written at first, and then found to be right."""

    def prepare(number: int) -> Callable[[], object]:
        copies = tuple(house.copy(f"{number}.{item}", form) for item in range(number))
        return lambda: house.serve(copies)

    assert grows_no_faster(prepare, 4)


@contextmanager
def few_descriptors(number: int) -> Iterator[None]:
    """Let this process have no more than so many, as systemd gives a service 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.root
def test_directories_of_many_anchors_need_few_descriptors(house: Served) -> None:
    """One for each directory, and not for each of its files."""
    copies = tuple(house.copy(f"certs.{item}", Format.HASHED) for item in range(8))
    with few_descriptors(128):
        report = house.serve(copies)
    assert report.problems == ()
    assert {len(list(copy.to.glob("*.0"))) for copy in copies} == {30}
