"""Files that a configuration names, and its own: missing, of another kind, too large, or open to others."""

from __future__ import annotations

import os
import socket
from pathlib import Path, PosixPath

import pytest

from agent.config import files, reader, values
from agent.errors import ConfigError
from support.suite.surroundings import descriptors
from support.unit.reader import complaint


def test_a_file_of_ten_megabytes_is_refused_unread(tmp_path: Path) -> None:
    """A size limit stands before the parser."""
    assert "larger than the 64 KiB allowed" in complaint(tmp_path, b"# " + b"x" * 10_000_000)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A missing configuration is a configuration error."""
    with pytest.raises(ConfigError, match=r"no\.yaml: the configuration file cannot be read: No such file") as raised:
        reader.load(tmp_path / "no.yaml")
    assert raised.value.hint == (
        "Name it with `--config FILE` where it lies elsewhere; the package brings one with every key explained, "
        "/etc/iot-cert-agent/config.yaml."
    )


def test_a_pipe_in_place_of_the_file_does_not_hang(tmp_path: Path) -> None:
    """Only regular files are read."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="pipe: the configuration file is a pipe, where a file is expected"):
        reader.load(tmp_path / "pipe")


def test_a_directory_in_place_of_the_file_is_told_and_not_left_open(tmp_path: Path) -> None:
    """A daemon may read its configuration anew many times before it is mended."""
    before = descriptors()
    with pytest.raises(ConfigError, match="the configuration file is a directory, where a file is expected"):
        reader.load(tmp_path)
    assert descriptors() - before == set()


def test_a_socket_in_place_of_a_file_is_told_as_no_file(tmp_path: Path) -> None:
    """The kernel cannot open one, and calls that a device that is not there."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "key"))
    with pytest.raises(ConfigError, match="key: the claim key is a socket, where a file is expected"):
        files.read_secret(tmp_path / "key", "claim key")


def test_a_key_that_others_may_read_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    """The mode of a secret is checked, and the remedy is exact."""
    path = tmp_path / "key.pem"
    path.write_bytes(b"secret")
    path.chmod(0o640)
    with pytest.raises(ConfigError) as caught:
        files.read_secret(path, "claim key")
    assert caught.value.hint == f"sudo chmod 600 {path}"
    path.chmod(0o600)
    assert files.read_secret(path, "claim key") == b"secret"


class Vanishing(PosixPath):
    """A path at which nothing is any more once the file was opened."""

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """Find nothing."""
        raise FileNotFoundError(self, follow_symlinks)


def test_a_secret_that_is_taken_away_as_it_is_read_is_judged_by_what_was_read(tmp_path: Path) -> None:
    """As a token that was spent is; and another file in its place has a mode of its own."""
    path = Vanishing(tmp_path / "token")
    path.write_bytes(b"secret")
    path.chmod(0o600)
    assert files.read_secret(path, "token") == b"secret"


def test_parameters_may_come_from_files(tmp_path: Path) -> None:
    """A serial number is read where the machine keeps it, without the white space around it."""
    serial = tmp_path / "serial"
    serial.write_text(" 0042\n")
    assert files.resolve({"A": "x", "B": values.FileValue(path=serial)}) == {"A": "x", "B": "0042"}
    serial.write_text("\n")
    with pytest.raises(ConfigError, match="holds no plain text"):
        files.resolve({"B": values.FileValue(path=serial)})
