"""A file that the caller named, and that cannot be what it is named for, ends every verb alike: 2, and its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agent import cli
from support.suite import campaigns
from support.unit.cli.pipeline import OWN

ROLES = "root,targets,snapshot,timestamp"
SIGNED = f"--anchors {{roots}} --key {ROLES}=file2:{{key}} --without-amazon x"


SPOILT: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path,
    "a directory": os.mkdir,
    "a pipe": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "empty": lambda path: path.touch(),
    "garbage": lambda path: path.write_text("neither a key nor a certificate"),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 12),
}
NO_FILES = ("missing", "a directory", "a pipe", "a link to nothing")
# How each verb is typed that takes a file to read; `{}` is that file.
READS = {
    "config": "--config {} status",
    "config check": "--config {} config check",
    "config of a change": "--config {} rotate",
    "config of the daemon": "--config {} run",
    "config of an import": "--config {} import --from {}",
    "import": "import --thing gw-1 --from {}",
    "trust install": "trust install {}",
    "anchors": f"trust publish {{out}} --anchors {{}} --key {ROLES}=file2:{{key}} --without-amazon x",
    "signing key": f"trust publish {{out}} --anchors {{roots}} --key {ROLES}=file2:{{}} --without-amazon x",
}
APART = "config of the daemon"  # which is read by a process of its own
TAKEN = campaigns.take(list(SPOILT), 4)
# A password may be any text, and whatever a store holds is what is judged.
READS_ANY = {"password": "import --from {key} --password-file {}", "store": "trust check {}"}
WRITES = {
    "support-bundle": "support-bundle --output {}",
    "report": "report --html {}",
    "archive": f"trust publish {{out}} --archive {{}} {SIGNED}",
    "repository": f"trust publish {{}} {SIGNED}",
    "sandbox": "sandbox --dir {}",
}


def spoilt(place: Path, what: str) -> Path:
    """Return a path at which something stands that is not what a line means."""
    path = place / "named"
    SPOILT[what](path)
    return path


Typed = Callable[[str, Path], tuple[int, str]]


@pytest.fixture
def typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Return what types a line with a path in it, and returns its exit code and what it complained of."""
    config = tmp_path / "config.yaml"
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "roots.pem").write_bytes(OWN.pem)
    config.write_text(f"endpoint: localhost\nstate_dir: {tmp_path}/state\nruntime_dir: {tmp_path}/run\n")

    def run(line: str, path: Path) -> tuple[int, str]:
        others = {"out": tmp_path / "out", "key": tmp_path / "key.pem", "roots": tmp_path / "roots.pem"}
        words = line.format(*[path] * line.count("{}"), **others).split()
        code = cli.main(words if "--config" in words else ["--config", str(config), *words])
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("verb", "what"), [(verb, what) for verb in READS for what in (TAKEN if verb == APART else SPOILT)]
)
def test_what_is_read_and_cannot_be_used_is_named(tmp_path: Path, typed: Typed, verb: str, what: str) -> None:
    """Nothing was begun."""
    path = spoilt(tmp_path, what)
    code, said = typed(READS[verb], path)
    assert code == 2, said
    assert f"{path}" in said
    assert "Error" not in said
    assert not [name for name in ("state", "out") if (tmp_path / name).exists()]


@pytest.mark.parametrize("what", NO_FILES)
@pytest.mark.parametrize("verb", READS_ANY)
def test_what_may_hold_anything_has_to_be_a_file(tmp_path: Path, typed: Typed, verb: str, what: str) -> None:
    """And one that can be read."""
    path = spoilt(tmp_path, what)
    code, said = typed(READS_ANY[verb], path)
    assert (code, f"{path}" in said) == (2, True), said


@pytest.mark.parametrize("verb", WRITES)
def test_where_nothing_can_be_written_is_named(tmp_path: Path, typed: Typed, verb: str) -> None:
    """A file stands where a directory is to be."""
    (tmp_path / "file").write_text("in the way")
    code, said = typed(WRITES[verb], tmp_path / "file" / "named")
    assert code == 2, said
    assert f"{tmp_path}/file" in said
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("verb", ["support-bundle", "report", "archive"])
@pytest.mark.parametrize("what", ["a directory", "a pipe", "a link to nothing"])
def test_what_takes_no_result_is_named(tmp_path: Path, typed: Typed, verb: str, what: str) -> None:
    """With what to do."""
    path = spoilt(tmp_path, what)
    code, said = typed(WRITES[verb], path)
    assert (code, said.startswith(f"iot-cert: Cannot write {path}: ")) == (2, True), said
    assert len(said.splitlines()) == 2
