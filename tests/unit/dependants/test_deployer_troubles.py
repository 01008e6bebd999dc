"""A round in which something does not work: the others are served, it is tried again, and there is a time for all."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.dependants import LONGEST, Content, Copy, Format, Hooks, Occasion, OnFailure, Unit
from agent.core.failure.failure import FailureClass
from agent.dependants import deployer as module
from agent.errors import AgentError, CloudError
from agent.system.processes import programs
from support.running.systemd import give
from support.shorthand import planted
from support.simulated.virtual import Time

if TYPE_CHECKING:
    from collections.abc import Sequence


from support.shorthand.dependants import NAME, OTHER, House
from support.suite.surroundings import NOBODY

pytestmark = pytest.mark.root

NO_DIRECTORY = sorted(planted.KINDS.keys() - {"directory", "directory-0555"})


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


def test_a_copy_that_only_a_person_can_make_way_for_is_given_up_at_once(house: House) -> None:
    """Beside one that may come up it is waited for."""
    house.copy("copy.pem").mkdir()
    for more, code in (("", "dependant-untried"), ("gone/copy.pem", "dependant")):
        _ = more and house.copy(more)
        with pytest.raises(CloudError) as caught:
            house.deployer.take_up(Occasion.ACTIVATED)
        assert caught.value.failure.code == code


@pytest.mark.parametrize("kind", ["directory", "directory-0555", "device", "immutable"])
def test_what_stands_in_place_of_a_copy_is_waited_for_by_no_change(house: House, kind: str) -> None:
    """It stays until a person takes it away."""
    with planted.at(house.copy("copy.pem"), kind):
        assert untried(house)


@pytest.mark.parametrize("kind", NO_DIRECTORY)
def test_what_stands_on_the_way_to_a_copy_is_not_either(house: House, kind: str) -> None:
    """No link is followed there."""
    to = house.copy("certs/copy.pem")
    with planted.at(to.parent, kind):
        assert untried(house)


@pytest.mark.parametrize("format_", [Format.HASHED, Format.SYSTEM])
@pytest.mark.parametrize("kind", NO_DIRECTORY)
def test_what_stands_in_place_of_a_directory_of_anchors_is_not_either(house: House, kind: str, format_: Format) -> None:
    """Nor does one that holds files of others become ours by waiting."""
    to = house.copy("roots", Content.ANCHORS, format_)
    with planted.at(to, kind):
        assert untried(house)
    to.mkdir()
    (to / "another.pem").touch()
    assert untried(house)


@pytest.mark.parametrize("wrong", ["no text", "mode", "directory", "two lines"])
def test_a_password_that_is_none_is_waited_for_by_no_change(house: House, wrong: str) -> None:
    """One that is missing, or empty, may be written yet."""
    house.copy("copy.p12", Content.PAIR, Format.PKCS12)
    assert not untried(house)
    password = house.place / "password"
    password.touch(0o600)
    assert not untried(house)
    if wrong == "directory":
        password.unlink()
        password.mkdir()
    else:
        password.write_bytes({"no text": b"\xff\xfe\n", "mode": b"secret\n", "two lines": b"\nsecret\n"}[wrong])
        password.chmod(0o644 if wrong == "mode" else 0o600)
    assert untried(house)


def test_a_unit_that_is_not_loaded_is_waited_for_by_no_change(house: House) -> None:
    """Systemd says so at once; beside one that may come up, that one is waited for."""
    house.unit()
    house.systemctl.has(NAME, LoadState="masked")
    assert untried(house)
    assert house.systemctl.orders == []
    house.unit(OTHER, exit="1")
    assert not untried(house)


def untried(house: House) -> bool:
    """Have the dependants served in vain, and return whether no change waits for that."""
    with pytest.raises(CloudError) as caught:
        house.deployer.take_up(Occasion.ACTIVATED)
    assert caught.value.failure.code in {"dependant", "dependant-untried"}
    return caught.value.failure.code == "dependant-untried"


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


@pytest.mark.parametrize(("there", "code"), [("else", "dependant"), ("elsewhere", "dependant-untried")])
def test_hooks_that_may_be_mounted_yet_are_waited_for(house: House, there: str, code: str) -> None:
    """What is there and is no directory only a person can take away."""
    place = house.hooks.directory
    place.rename(place.with_name("unused"))
    place.symlink_to("elsewhere")
    place.with_name(there).touch()
    with pytest.raises(CloudError) as caught:
        house.deployer.take_up(Occasion.ACTIVATED)
    assert caught.value.failure.code == code


def test_a_hook_that_takes_too_long_is_ended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its own time."""
    monkeypatch.setattr("agent.system.processes.programs.GRACE", 0.2)
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
