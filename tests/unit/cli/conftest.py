"""What the tests of verbs share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent import cli
from agent.cli.looking import support
from agent.core.change.lifecycle import Phase
from agent.core.report.checks import CHECKS
from agent.core.values import Kind
from support.simulated.rig import Rig
from support.unit.cli.pipeline import TypedPipeline
from support.unit.cli.support_bundle import CanaryPlace, Here

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="here")
def _here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    """Return what runs the command in this process; its check needs no other, and the place has a journal."""
    lines = [json.dumps({"event": "line", "check": name, "verdict": "skipped", "text": "Known."}) for name in CHECKS]
    monkeypatch.setattr(support, "_JOURNAL", ("journal-reader",))
    monkeypatch.setattr(support, "check_apart", lambda _: "".join(f"{line}\n" for line in lines).encode())

    def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.setenv("PATH", environment["PATH"])
            code = cli.main(command)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(command, code, said.out, said.err)

    return run


@contextmanager
def _passable() -> Iterator[Path]:
    """Give a directory that others may pass through."""
    with tempfile.TemporaryDirectory(prefix="iot-cert-support-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@pytest.fixture
def place(here: Here) -> Iterator[CanaryPlace]:
    """Return a gateway fresh from the factory."""
    with _passable() as directory, closing(Rig(directory / "state")) as rig:
        yield CanaryPlace(directory, here, rig)


@pytest.fixture(name="flying", scope="package")
def _flying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Return one with two generations and a change in flight that holds a key and an ownership token."""
    with closing(Rig(tmp_path_factory.mktemp("flying") / "state")) as rig:
        rig.be_enrolled()
        rig.clock.advance(days=2)
        rig.rotate()
        rig.clock.advance(days=2)
        rig.stop_at(Kind.ROTATE, Phase.ISSUED)
        assert '"token":"' in (rig.path / "change.json").read_text()
        rig.store.close()
        yield rig


@pytest.fixture
def enrolled(here: Here, flying: Rig) -> Iterator[CanaryPlace]:
    """Return one whose state is a copy of that one's, and which has the same cloud."""
    with _passable() as directory:
        shutil.copytree(flying.path, directory / "state", symlinks=True)
        yield CanaryPlace(directory, here, flying)


@pytest.fixture(name="pipeline")
def _pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[TypedPipeline]:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    before = os.umask(0o022)  # the command sets its own
    try:
        yield TypedPipeline(tmp_path, capsys)
    finally:
        os.umask(before)
