"""The report of how dependants stand: who may read it, what is in it, and what a damaged one costs."""

from __future__ import annotations

import json
import os
import re
import stat
from datetime import timedelta

import pytest

from agent.core.dependants import MAX_REPORT, Content, Copy, Format, Occasion, Unit, UnitAction
from agent.dependants.report_file import REPORT, SECOND, last_report
from agent.errors import CloudError
from support.running.systemd import go_back, lay
from support.shorthand import planted
from support.shorthand.dependants import NAME, OTHER, PASSWORD, House

pytestmark = pytest.mark.root


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
        path.write_bytes({"garbage": b"\xff{", "empty": b"", "large": data + b" " * MAX_REPORT}[harm])
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


@pytest.mark.parametrize("kind", planted.MOVABLE)
def test_whatever_stands_in_the_deploy_directory_keeps_no_dependant_from_its_set(house: House, kind: str) -> None:
    """What is another program's is kept beside it; the next round has nothing to say of it."""
    house.hook("10-first")
    house.directory.mkdir()
    for name in ("lock", REPORT, f".new-{REPORT}"):
        for afresh in (True, False):
            with planted.at(house.directory / name, kind) as plant:
                assert house.serve(afresh=afresh).problems == ()
                assert last_report(house.directory) is not None
                if kind in planted.FOREIGN:
                    plant.require_kept(house.directory / f"{name.removeprefix('.new-')}.damaged")
            for left in house.directory.iterdir():
                left.unlink()


@pytest.mark.parametrize("name", [REPORT, f".new-{REPORT}"])
def test_a_report_that_nothing_may_replace_keeps_no_dependant_from_its_set(house: House, name: str) -> None:
    """How they stand is written beside it, and believed there: nothing is served twice."""
    house.hook("10-first")
    house.directory.mkdir()
    with planted.at(house.directory / name, "immutable"):
        for _ in range(3):
            house.deployer.take_up(Occasion.ACTIVATED)
        assert house.ran == ["10-first"]
        found = last_report(house.directory)
        assert found is not None
        assert [step.problem for step in found.steps] == [""]
        assert house.serve(afresh=True).problems == ()
        assert house.ran == ["10-first"] * 2
    house.deployer.take_up(Occasion.ACTIVATED)
    assert house.ran == ["10-first"] * 2


def test_a_set_that_could_not_be_noted_in_the_report_is_left_with_a_rollback(house: House) -> None:
    """The report that nothing may replace names the set that is gone back to, which every program has left by then."""
    house.hook("10-first")
    lay(house.state, 2)

    def serve_each(*numbers: int) -> int:
        for number in numbers:
            go_back(house.state, number)
            house.serve()
        return len(house.ran)

    assert serve_each(1) == 1
    with planted.kept(house.directory / REPORT):
        assert serve_each(2, 1, 1) == 3
    assert serve_each(1, 2, 1) == 5
    assert not (house.directory / SECOND).exists()


def test_a_directory_in_which_nothing_may_be_written_keeps_no_dependant_from_its_set_either(house: House) -> None:
    """That is told, and no change waits for it. What stands nowhere is served each time: it may be another set's."""
    house.hook("10-first")
    lay(house.state, 2)
    go_back(house.state, 1)
    house.serve()
    with planted.kept(house.directory):
        for ran, number in enumerate((2, 1, 1), start=2):
            go_back(house.state, number)
            (step,) = house.serve().problems
            assert (step.name, step.untried, len(house.ran)) == (REPORT, True, ran)
            assert "noted nowhere" in step.problem
            assert "chattr -ia" in step.problem
        with pytest.raises(CloudError) as caught:
            house.deployer.take_up(Occasion.AGAIN)
        assert caught.value.failure.code == "dependant-untried"
    go_back(house.state, 2)
    assert house.serve().problems == ()
    assert len(house.ran) == 6


def test_neither_report_may_be_replaced(house: House) -> None:
    """That is told, and no change waits for it: a program that uses a set which stands nowhere would be left on it."""
    house.hook("10-first")
    house.directory.mkdir()
    with planted.at(house.directory / REPORT, "immutable"), planted.at(house.directory / SECOND, "immutable"):
        with pytest.raises(CloudError) as caught:
            house.deployer.take_up(Occasion.ACTIVATED)
        assert caught.value.failure.code == "dependant-untried"
        assert "chattr -ia" in caught.value.failure.remedy
    house.deployer.take_up(Occasion.ACTIVATED)
    assert house.ran == ["10-first"]


@pytest.mark.parametrize("kind", sorted(planted.KINDS.keys() - {"directory", "directory-0555"}))
def test_what_is_no_deploy_directory_is_told_and_left(house: House, kind: str) -> None:
    """It may be a mistake in the configuration, and is not the agent's to move; the gateway goes on with its set."""
    house.hook("10-first")
    with planted.at(house.directory, kind) as plant:
        with pytest.raises(CloudError) as caught:
            house.deployer.take_up(Occasion.ACTIVATED)
        assert f"could not be served: {house.directory} is a" in str(caught.value)
        assert "where a directory is expected" in str(caught.value)
        assert caught.value.failure.code == "dependant-untried"
        assert plant.stands
    house.deployer.take_up(Occasion.ACTIVATED)


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
