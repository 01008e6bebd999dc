"""How the dependants stand, as any user may read it, and what of that the status has."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import (
    HOOKS,
    MAX_REPORT,
    Content,
    Copy,
    Dependants,
    Hooks,
    Report,
    Served,
    Step,
    Unit,
    encode_report,
)
from agent.dependants.report_file import REPORT, any_configured, behind, last_report, names, served
from support.make import NOW

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Report(at=NOW, generation=7, set="ab" * 32, steps=(Step(name="a.service"), Step(name="hook 10-x")))
BAD = replace(GOOD, steps=(Step(name="a.service"), Step(name="b.service", problem="It does not.", goes_back=True)))


def without(place: Path) -> Dependants:
    """Return what is configured on a gateway where nothing is."""
    return Dependants(hooks=Hooks(directory=place / "hooks.d"))


def with_one(place: Path) -> Dependants:
    """Return one unit."""
    return replace(without(place), units=(Unit(name="a.service"),))


def written(place: Path, content: Report | bytes) -> Path:
    """Write a report, or something in its place."""
    (place / REPORT).write_bytes(content if isinstance(content, bytes) else encode_report(content) + b"\n")
    return place


# -- whether there is one ----------------------------------------------------------------------------------------------


def test_a_gateway_without_dependants_has_none_to_serve(tmp_path: Path) -> None:
    """Without a directory for hooks, with an empty one, and with a leftover in it."""
    assert not any_configured(without(tmp_path))
    (tmp_path / "hooks.d").mkdir()
    (tmp_path / "hooks.d" / "README.bak").touch()
    assert not any_configured(without(tmp_path))
    assert served(without(tmp_path), written(tmp_path, GOOD), "It is not served.") is None


@pytest.mark.parametrize("who", ["copy", "unit", "hook", "complaint"])
def test_one_of_any_kind_is_a_dependant(tmp_path: Path, who: str) -> None:
    """Also a directory of hooks that there is something to complain about."""
    found = without(tmp_path)
    if who == "copy":
        found = replace(found, copies=(Copy(to=tmp_path / "x", content=Content.KEY),))
    elif who == "unit":
        found = with_one(tmp_path)
    elif who == "hook":
        (tmp_path / "hooks.d").mkdir()
        (tmp_path / "hooks.d" / "10-x").touch()
    else:
        (tmp_path / "hooks.d").touch()
    assert any_configured(found)


# -- the last report ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("report", [GOOD, BAD])
def test_the_last_report_is_read(tmp_path: Path, report: Report) -> None:
    """As it was written."""
    assert last_report(written(tmp_path, report)) == report


def test_before_the_first_it_is_unknown(tmp_path: Path) -> None:
    """Without a report, and without the directory."""
    assert last_report(tmp_path) is None
    assert last_report(tmp_path / "gone") is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"{}", b" " * (MAX_REPORT + 1)])
def test_what_is_no_report_tells_nothing(tmp_path: Path, content: bytes) -> None:
    """Status must not fail for it."""
    assert last_report(written(tmp_path, content)) is None


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "link to the directory"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """And not waited for."""
    place = tmp_path / "deploy"
    place.mkdir()
    if kind == "link":
        (place / REPORT).symlink_to(written(tmp_path, GOOD) / REPORT)
    elif kind == "pipe":
        os.mkfifo(place / REPORT)
    elif kind == "directory":
        (place / REPORT).mkdir()
    else:
        place.rmdir()
        place.symlink_to(written(tmp_path, GOOD))
    assert last_report(place) is None


# -- which set they use ------------------------------------------------------------------------------------------------


def test_each_is_called_as_it_is_in_a_report(tmp_path: Path) -> None:
    """Copies, hooks, units; and one word for hooks that cannot be listed."""
    (tmp_path / "hooks.d").mkdir()
    (tmp_path / "hooks.d" / "10-x").touch()
    found = replace(with_one(tmp_path), copies=(Copy(to=tmp_path / "x", content=Content.KEY),))

    assert names(found) == (f"copy {tmp_path / 'x'}", "hook 10-x", "a.service")
    assert names(without(tmp_path)) == ("hook 10-x",)
    assert names(replace(without(tmp_path), hooks=Hooks(directory=tmp_path / "hooks.d" / "10-x"))) == (HOOKS,)


def test_who_is_behind_is_read_from_the_report(tmp_path: Path) -> None:
    """One that fails, one that was not served yet, and all of them as long as nothing is known."""
    (tmp_path / "hooks.d").mkdir()
    (tmp_path / "hooks.d" / "10-x").touch()
    found = replace(with_one(tmp_path), units=(Unit(name="a.service"), Unit(name="b.service")))
    all_of_them = ("hook 10-x", "a.service", "b.service")

    assert behind(found, tmp_path, 7) == all_of_them
    assert behind(found, written(tmp_path, GOOD), 7) == ("b.service",)
    assert behind(with_one(tmp_path), tmp_path, 7) == ()
    assert behind(found, written(tmp_path, BAD), 7) == ("hook 10-x", "b.service")
    assert behind(found, tmp_path, 8) == all_of_them


def test_without_dependants_none_is_behind(tmp_path: Path) -> None:
    """Whatever an old report says."""
    assert behind(without(tmp_path), written(tmp_path, BAD), 7) == ()


# -- the status --------------------------------------------------------------------------------------------------------


def test_the_status_says_who_uses_which_generation(tmp_path: Path) -> None:
    """Each by name, with the problem if there is one."""
    assert served(with_one(tmp_path), written(tmp_path, BAD)) == Served(generation=7, steps=BAD.steps)


def test_before_the_first_report_the_status_has_no_steps(tmp_path: Path) -> None:
    """But why they could not be served, if the daemon knows."""
    for said in ("", "It cannot be reached."):
        found = served(with_one(tmp_path), tmp_path, said)
        assert found == Served(problem=said)


@pytest.mark.parametrize(("report", "said"), [(GOOD, "It cannot be reached."), (BAD, "")])
def test_why_they_were_not_served_is_said_where_the_report_does_not_say_it(
    tmp_path: Path, report: Report, said: str
) -> None:
    """The daemon knows of a problem what the report says, and that would stand there twice."""
    found = served(with_one(tmp_path), written(tmp_path, report), "It cannot be reached.")
    assert found is not None
    assert found.problem == said


def test_what_is_in_a_dependants_way_is_said_before_the_first_report(tmp_path: Path) -> None:
    """Else a technician learns it no sooner than the dependants are served."""
    (tmp_path / "app.pem").mkdir()
    wanted = replace(without(tmp_path), copies=(Copy(to=tmp_path / "app.pem", content=Content.CERTIFICATE),))
    found = served(wanted, tmp_path)
    assert found == Served(
        problem=f"{tmp_path}/app.pem is a directory, where a copy is expected: move it out of the way."
    )
