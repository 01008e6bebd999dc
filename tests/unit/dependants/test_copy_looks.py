"""What is seen of a copy without reading it: gone, another kind of file, empty, open, another owner's, written to."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import Content, Copy, Dependants, Hooks, Signal, Step
from agent.dependants import copy_looks

if TYPE_CHECKING:
    from collections.abc import Callable

PUT_BACK = "`sudo iot-cert deploy` puts it back at once, and the daemon within the hour."


@pytest.fixture(name="copy")
def _copy(tmp_path: Path) -> Copy:
    path = tmp_path / "app.key"
    path.write_text("a key")
    path.chmod(0o600)
    owner, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    return Copy(to=path, content=Content.KEY, owner=owner, group=group)


def seen(copy: Copy, known: dict[str, str], *, problem: str = "") -> str:
    """Return what a report of then says of the copy now."""
    dependants = Dependants(copies=(copy,), hooks=Hooks(directory=Path("/nonexistent")))
    steps = (Step(name=f"copy {copy.to}", problem=problem), Step(name="a.service"))
    first, second = copy_looks.with_looks(steps, dependants, known)
    assert second == steps[1]
    return first.problem


def _as_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _same_size(path: Path) -> None:
    path.write_text("4 key")
    os.utime(path, ns=(0, 1))


TOUCHES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda path: path.unlink(), "is gone"),
    "a directory": (_as_a_directory, "is no file any more"),
    "a link": (_as_a_link, "is no file any more"),
    "empty": (lambda path: path.write_text(""), "is empty"),
    "garbage": (lambda path: path.write_text("garbage"), "was changed by another program"),
    "garbage of the same size": (_same_size, "was changed by another program"),
    "for all to write": (lambda path: path.chmod(0o666), "has mode 0666, and is to have 0600"),
    "for all to read": (lambda path: path.chmod(0o644), "has mode 0644, and is to have 0600"),
    "for none": (lambda path: path.chmod(0), "has mode 0000, and is to have 0600"),
}  # fmt: skip


def test_a_copy_that_nothing_has_touched_is_right(copy: Copy) -> None:
    """Read as often as it may be; one that was not right is told as it was."""
    known = copy_looks.traces([copy])
    copy.to.read_bytes()
    assert seen(copy, known) == ""
    assert seen(copy, known, problem="It is not written.") == "It is not written."


@pytest.mark.parametrize(("touch", "text"), TOUCHES.values(), ids=TOUCHES)
def test_a_copy_that_is_not_as_it_was_put_in_place_is_told(
    copy: Copy, touch: Callable[[Path], object], text: str
) -> None:
    """With what puts it back."""
    known = copy_looks.traces([copy])
    touch(copy.to)
    assert seen(copy, known) == f"{copy.to} {text}. {PUT_BACK}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_copy_of_another_user_is_told(copy: Copy) -> None:
    """By number, since the user may have no name here."""
    known = copy_looks.traces([copy])
    os.chown(copy.to, 12345, 12346)
    assert f"belongs to 12345:12346, and is to belong to {copy.owner}:{copy.group}" in seen(copy, known)
    assert seen(replace(copy, owner="no-such-user"), known) == "", "which serving it tells"


def test_a_copy_that_its_program_writes_to_is_to_be_there(copy: Copy) -> None:
    """What is in it is the program's."""
    own = replace(copy, heal=False)
    assert copy_looks.traces([own]) == {}
    own.to.write_text("other")
    own.to.chmod(0o666)
    assert seen(own, {}) == ""
    own.to.unlink()
    assert "is gone" in seen(own, {})


def test_a_report_of_an_older_version_knows_no_traces(copy: Copy) -> None:
    """Its copies are judged by what stands in the configuration."""
    copy.to.write_text("other")
    assert seen(copy, {}) == ""
    assert copy_looks.trace(copy.to.with_name("none")) == ""


KINDS: dict[str, Callable[[Path], object]] = {
    "a directory": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
}


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_in_the_place_of_a_dependants_file_is_told_before_it_is_served(tmp_path: Path, kind: str) -> None:
    """By the status and the doctor, which serve none: a copy could not be written, and no process would be known."""
    copy = Copy(to=tmp_path / "app.pem", content=Content.CERTIFICATE)
    told = Signal(pid_file=tmp_path / "app.pid", process="app")
    dependants = Dependants(copies=(copy,), signals=(told,), hooks=Hooks(directory=Path("/nonexistent")))
    assert copy_looks.misplaced(dependants) == {}
    copy.to.write_text("")
    told.pid_file.write_text("1")
    assert copy_looks.misplaced(dependants) == {}
    for path in (copy.to, told.pid_file):
        path.unlink()
        KINDS[kind](path)
    assert copy_looks.misplaced(dependants) == {
        f"copy {copy.to}": f"{copy.to} is {kind}, where a copy is expected: move it out of the way.",
        f"signal {told.pid_file}": (
            f"{told.pid_file} is {kind}, where the number of app is expected: move it out of the way."
        ),
    }
    (step,) = copy_looks.with_looks((Step(name=told.name),), dependants, {})
    assert step.problem.startswith(f"{told.pid_file} is {kind}")
