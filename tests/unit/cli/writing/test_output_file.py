"""Where a result goes for which a person names a file, whatever that name leads to."""

from __future__ import annotations

import os
import select
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.cli.writing import output_file
from agent.errors import ConfigError, RefusedError, StoreError
from agent.store.files.durable import Modes
from support.suite.surroundings import NOBODY, need_root

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = b"result" * 40_000  # more than a pipe holds


def test_a_new_file_and_an_old_one_are_written_whole(tmp_path: Path) -> None:
    """With the mode that is wanted, and nothing beside it."""
    for _ in range(2):
        assert not output_file.write(tmp_path / "out", DATA, Modes(public_mode=0o640))
        assert (tmp_path / "out").read_bytes() == DATA
        assert stat.S_IMODE((tmp_path / "out").lstat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_may_be_reached_through_a_link(tmp_path: Path) -> None:
    """A link on the way is the person's own."""
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to("real")
    output_file.write(tmp_path / "way" / "out", DATA, Modes())
    assert (tmp_path / "real" / "out").read_bytes() == DATA


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    """As any other program does it, an older result of another length included."""
    (tmp_path / "file").write_bytes(b"older and longer" * 40_000)
    (tmp_path / "link").symlink_to("file")
    assert not output_file.write(tmp_path / "link", DATA, Modes())
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == DATA


def test_a_pipe_stays_and_its_reader_gets_all_of_it(tmp_path: Path) -> None:
    """However much that is."""
    os.mkfifo(tmp_path / "pipe")
    fd, got = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK), b""
    writer = threading.Thread(target=lambda: output_file.write(tmp_path / "pipe", DATA, Modes()))
    writer.start()
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while len(got) < len(DATA):
        poll.poll()
        got += os.read(fd, 65_536)
    writer.join()
    os.close(fd)
    assert got == DATA
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode)


def _directory(path: Path) -> None:
    path.mkdir()


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def _to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_directory, "it is a directory"),
        (_socket, "it is a socket"),
        (os.mkfifo, "no process reads from this pipe"),
        (_to_nothing, "it is a link that leads to nothing"),
        (_to_itself, "it is a link that leads in a circle"),
    ],
)
def test_what_cannot_take_it_is_refused_and_stays(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    """In a sentence, and without waiting."""
    make(tmp_path / "there")
    before = (tmp_path / "there").lstat()
    with pytest.raises(ConfigError) as raised:
        output_file.write(tmp_path / "there", DATA, Modes())
    assert str(raised.value) == f"Cannot write {tmp_path}/there: {why}."
    assert (tmp_path / "there").lstat().st_ino == before.st_ino
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def _mounted(path: Path) -> Path:
    path.touch()
    subprocess.run(["mount", "--bind", path, path], check=True)
    return path


def _kept(path: Path) -> Path:
    path.touch()
    if subprocess.run(["chattr", "+i", path], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this file system has no attributes")
    return path


def test_a_file_that_is_mounted_is_written_into(tmp_path: Path) -> None:
    """As a container is given one, which nothing can replace."""
    need_root()
    path = _mounted(tmp_path / "there")
    try:
        assert not output_file.write(path, DATA, Modes())
        assert path.read_bytes() == DATA
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        with pytest.raises(StoreError, match=f"Cannot write {path}: Read-only file system"):
            output_file.write(path, DATA, Modes())
    finally:
        subprocess.run(["umount", path], check=True)
    assert [other.name for other in tmp_path.iterdir()] == ["there"]


def test_what_is_told_is_what_was_named(tmp_path: Path) -> None:
    """And not the file that is written before it is renamed."""
    need_root()
    path = _kept(tmp_path / "there")
    try:
        with pytest.raises(StoreError, match=f"Cannot write {path}: Operation not permitted") as raised:
            output_file.write(path, DATA, Modes())
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    assert "chattr" in raised.value.hint
    assert [other.name for other in tmp_path.iterdir()] == ["there"]


def test_where_another_user_alone_may_write_this_user_is_told_so(tmp_path: Path) -> None:
    """No daemon has a part in it, and what lies where this user may not look is not called missing."""
    need_root()
    (tmp_path / "theirs" / "in").mkdir(parents=True)
    (tmp_path / "theirs").chmod(0o700)
    (tmp_path / "read").mkdir(mode=0o755)
    program = (
        "import os, sys; from pathlib import Path; from agent.cli.writing import output_file; "
        "from agent.errors import RefusedError; from agent.store.files.durable import Modes\n"
        "os.chdir(sys.argv[1]); os.setresuid(65534, 65534, 65534)\n"
        "for name in ('theirs/in/out', 'read/out'):\n"
        "    try: output_file.write(Path(name), b'x', Modes())\n"
        "    except RefusedError as error: print(error.in_full)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    next_step = "Name a file where this user may write, or run it with sudo."
    assert done.stdout.splitlines() == [
        f"Cannot write {name}: Permission denied. {next_step}" for name in ("theirs/in/out", "read/out")
    ]


def test_root_is_not_sent_to_sudo(tmp_path: Path) -> None:
    """The kernel keeps root, too, from a link that another user has laid out where all may write."""
    need_root()
    (tmp_path / "all").mkdir()
    (tmp_path / "all").chmod(0o1777)
    (tmp_path / "all" / "link").symlink_to(tmp_path / "file")
    os.lchown(tmp_path / "all" / "link", NOBODY, NOBODY)
    (tmp_path / "file").touch()
    if Path("/proc/sys/fs/protected_symlinks").read_text(encoding="ascii").strip() == "0":
        output_file.write(tmp_path / "all" / "link", DATA, Modes())
        return
    with pytest.raises(RefusedError) as raised:
        output_file.write(tmp_path / "all" / "link", DATA, Modes())
    assert raised.value.hint == "Name a file where this user may write."


@pytest.mark.parametrize("name", ["x" * 255, "\udcff\n" + "ä" * 126])
def test_the_longest_name_can_be_written(tmp_path: Path, name: str) -> None:
    """Whatever is put before it meanwhile."""
    for _ in range(2):
        output_file.write(tmp_path / name, DATA, Modes())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(ConfigError, match="File name too long") as raised:
        output_file.write(tmp_path / f"{name}xx", DATA, Modes())
    assert raised.value.hint == "Choose a shorter name."


def test_a_directory_that_is_not_there_is_named_before_there_is_a_result(tmp_path: Path) -> None:
    """Collecting takes a minute."""
    with pytest.raises(ConfigError, match="there is no directory"):
        output_file.require_usable(tmp_path / "no" / "out")


def test_a_device_is_written_into_and_a_disk_is_not(tmp_path: Path) -> None:
    """`/dev/null` stays; a disk's content would be lost."""
    need_root()
    os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    output_file.write(tmp_path / "null", DATA, Modes())
    assert stat.S_ISCHR((tmp_path / "null").lstat().st_mode)
    with pytest.raises(ConfigError, match="a block device, and what is on it would be lost"):
        output_file.write(tmp_path / "disk", DATA, Modes())


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/proc/self/fd/1"])
def test_standard_output_takes_it_and_is_said_to_be_taken(name: str) -> None:
    """So that a person can pipe it, and no line gets in between."""
    program = (
        "import sys; from pathlib import Path; from agent.cli.writing import output_file; "
        "from agent.store.files.durable import Modes;"
        f"sys.exit(0 if output_file.write(Path({name!r}), b'x' * 200_000, Modes()) else 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"x" * 200_000, b"")
