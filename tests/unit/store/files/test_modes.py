"""Which files of the agent's are open to others, and that the command which mends one takes away no more than that."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from agent.store.files import modes

SETTINGS = [
    ("state", 0o777, "is open to others (mode 0777)", 0o750),
    ("state", 0o755, "is open to others (mode 0755)", 0o750),
    ("state", 0o701, "is open to others (mode 0701)", 0o700),
    ("state", 0o770, "is open to others (mode 0770)", 0o750),
    ("key.pem", 0o666, "may be read by others (mode 0666)", 0o640),
    ("key.pem", 0o644, "may be read by others (mode 0644)", 0o640),
    ("key.pem", 0o604, "may be read by others (mode 0604)", 0o600),
    ("key.pem", 0o620, "may be written by others (mode 0620)", 0o600),
    ("credential.pem", 0o646, "may be read by others (mode 0646)", 0o640),
    ("certificate.pem", 0o664, "may be written by others (mode 0664)", 0o644),
    ("key.pem.bak", 0o644, "may be read by others (mode 0644)", 0o640),
    ("change.json", 0o644, "may be read by others (mode 0644)", 0o640),
    ("history.jsonl", 0o666, "may be written by others (mode 0666)", 0o644),
    ("generations", 0o777, "may be written by others (mode 0777)", 0o755),
    ("generations/000001", 0o770, "may be written by others (mode 0770)", 0o750),
    ("claim.key", 0o640, "may be read by others (mode 0640)", 0o600),
    ("config.yaml", 0o666, "may be written by others (mode 0666)", 0o664),
    ("etc", 0o777, "may be written by others (mode 0777)", 0o775),
]


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> Path:
    generation = tmp_path / "state" / "generations" / "000001"
    generation.mkdir(parents=True)
    (tmp_path / "state").chmod(0o750)
    for name in ("change.json", "history.jsonl", "told"):
        (tmp_path / "state" / name).write_text(name)
        (tmp_path / "state" / name).chmod(0o600)
    (tmp_path / "state" / "inbox").mkdir()
    (tmp_path / "state" / "inbox").chmod(0o770)  # a pipeline's
    (tmp_path / "state" / "current").symlink_to("generations/000001")
    for directory in (generation, generation.parent):
        directory.chmod(0o750)
    for name in ("key.pem", "key.pem.bak", "credential.pem", "certificate.pem"):
        (generation / name).write_text(name)
        (generation / name).chmod(0o640)
    (tmp_path / "claim.key").write_text("key")
    (tmp_path / "claim.key").chmod(0o600)
    (tmp_path / "etc").mkdir(mode=0o755)
    (tmp_path / "config.yaml").write_text("endpoint: x.example\n")
    (tmp_path / "config.yaml").chmod(0o664)  # which group may write is for the operator to say
    return tmp_path / "state"


def found(state: Path) -> list[modes.Exposed]:
    """Return what is exposed, the claim's key and the operator's files included."""
    operators = (state.parent / "config.yaml", state.parent / "etc", state.parent / "there-is-none")
    return list(modes.exposed(state, state.parent / "claim.key", operators))


def test_what_the_group_may_read_is_not_exposed(state: Path) -> None:
    """The directory's own mode lets the group in, or does not; a certificate is no secret."""
    (state / "generations" / "000001" / "certificate.pem").chmod(0o644)
    assert found(state) == []
    assert list(modes.exposed(state, state / "there-is-none")) == []


def test_no_mode_of_what_is_no_file_is_to_be_changed(state: Path) -> None:
    """Another look tells that no key can be there; the command for a mode would change a device of the system's."""
    assert list(modes.exposed(state, Path("/dev/null"))) == []
    (state.parent / "directory").mkdir(mode=0o755)
    assert list(modes.exposed(state, state.parent / "directory")) == []


@pytest.mark.parametrize(("name", "mode", "text", "after"), SETTINGS)
def test_what_others_may_read_or_write_is_told_with_the_command_that_mends_it(
    state: Path, name: str, mode: int, text: str, after: int
) -> None:
    """After the command nothing is to be said any more, and a group that could read goes on."""
    top = {"generations", "generations/000001", "change.json", "history.jsonl"}
    beside = {item: state.parent / item for item in ("claim.key", "config.yaml", "etc")}
    places = {"state": state, **beside, **{item: state / item for item in top}}
    path = places.get(name, state / "generations" / "000001" / name)
    path.chmod(mode)
    (told,) = found(state)
    assert (told.code, told.text) == ("mode", f"{path} {text}.")
    subprocess.run(told.remedy.removeprefix("sudo ").split(), check=True)  # as root, which may have no sudo
    assert found(state) == []
    assert path.stat().st_mode & 0o7777 == after


@pytest.mark.parametrize(
    ("name", "mode"),
    [("history.jsonl", 0o000), ("told", 0o440), (".", 0o550), ("generations", 0o550), ("generations/000001", 0o500),
     ("generations/000001/key.pem", 0o040)],
)  # fmt: skip
def test_what_its_owner_may_not_use_is_told(state: Path, name: str, mode: int) -> None:
    """The agent works as the owner, for whom modes count, and root does not notice."""
    path = state / name
    path.chmod(mode)
    (told,) = (item for item in found(state) if item.code == "kept")
    assert told.text == f"{path} may not be used by its owner (mode {mode:04o})."
    subprocess.run(told.remedy.removeprefix("sudo ").split(), check=True)  # as above
    assert found(state) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sets the attribute")
@pytest.mark.parametrize("name", ["history.jsonl", ".", "generations"])
def test_what_no_process_may_change_is_told(state: Path, name: str) -> None:
    """`chattr +i` keeps even root from it, as a read-only mount does."""
    path = state / name
    if subprocess.run(["chattr", "+i", path], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this file system has no attributes")
    try:
        told = [item.text for item in found(state)]
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    assert told == [f"{path} is kept from changes: it has the attribute `i`, or is mounted read-only."]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_whose_a_link_is_or_what_was_set_aside_is_nothing_to_tell(state: Path) -> None:
    """A command for the one would change what it leads to, and the other is not used."""
    os.chown(state / "current", 12345, -1, follow_symlinks=False)
    (state / "lock.damaged").touch(mode=0o600)
    os.chown(state / "lock.damaged", 12345, -1)
    assert found(state) == []


def test_what_keeps_the_agent_from_its_work_is_told_first(state: Path) -> None:
    """One finding is shown whole, and how many more there are."""
    state.chmod(0o555)
    assert [item.code for item in found(state)] == ["kept", "mode"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("name", ["generations/000001/key.pem", "generations/000001", "generations"])
def test_what_another_user_owns_is_told(state: Path, name: str) -> None:
    """The agent could not go on with it, or not make another set."""
    key = state / name
    os.chown(key, 12345, -1)
    (told,) = found(state)
    assert (told.code, told.text) == ("owner", f"{key} belongs to user 12345 and not to the owner of {state}.")
    subprocess.run(told.remedy.removeprefix("sudo ").split(), check=True)  # as root, which may have no sudo
    assert found(state) == []
