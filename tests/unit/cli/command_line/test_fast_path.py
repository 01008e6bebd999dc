"""The short cut of `status` and `run`: it takes what is plain, and leaves everything else to the ordinary way."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, Self

import pytest

from agent.cli import main
from agent.cli.command_line import fast_path
from agent.cli.command_line.parser import parse
from agent.config.values import DEFAULT_RUNTIME_DIR
from agent.core.checksum import checksum

COMMAND = str(Path(sys.executable).with_name("iot-cert"))


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (["run"], fast_path.DEFAULT_CONFIG),
        (["--config", "/c.yaml", "run"], "/c.yaml"),
        (["run", "--help"], None),
        (["--config=/c.yaml", "run"], None),
        (["--config"], None),
        (["status"], None),
        ([], None),
    ],
)
def test_the_daemon_is_started_by_the_plainest_command_line_alone(line: list[str], path: str | None) -> None:
    """Any other goes through the parser, which knows every word about it."""
    assert fast_path.daemon(line) == path


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["rotate"],
        ["status", "--help"],
        ["status", "--json", "--json"],
        ["--config", "/none", "status"],
    ],
)
def test_other_command_lines_are_left_to_the_ordinary_way(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As is a configuration that is not there; nothing is printed."""
    assert fast_path.status(line) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "line",
    [
        ["status"],
        ["status", "--json"],
        ["status", "--watch"],
        ["status", "--watch", "--json"],
        ["--config", "/c d.yaml", "status"],
        ["--config", "c.yaml", "status", "--json"],
        ["config", "hand-over"],
        ["--config", "/c d.yaml", "config", "hand-over"],
    ],
)
def test_a_plain_line_is_what_the_parser_makes_of_it(line: list[str]) -> None:
    """What is done with it cannot tell which way it came."""
    plain, parsed = fast_path.plain(line), parse(line)
    assert plain is not None
    assert vars(plain) == {name: value for name, value in vars(parsed).items() if name != "parser"}


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["explain"],
        ["status", "-h"],
        ["status", "x"],
        ["--config", "", "status"],
        ["config"],
        ["config", "check"],
        ["config", "hand-over", "--json"],
        ["--config", "", "config", "hand-over"],
    ],
)
def test_any_other_line_is_the_parsers(line: list[str]) -> None:
    """It knows every word about it."""
    assert fast_path.plain(line) is None


class Answering:
    """A daemon that gives one answer to each caller, on a thread of its own."""

    def __init__(self, runtime: Path, message: dict[str, Any]) -> None:
        self._message = json.dumps(message).encode() + b"\n"
        runtime.mkdir(exist_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(runtime / "control.sock"))
        self._socket.listen()
        self._thread = Thread(target=self._run, daemon=True)
        self.asked: list[bytes] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                with self._socket.accept()[0] as connection:
                    self.asked.append(connection.recv(4096))
                    connection.sendall(self._message)


def answer(path: Path, text: str, **changes: Any) -> dict[str, Any]:
    """Return what a daemon says that runs with a file in which it read a text."""
    said = {"config": str(path)}
    sound = {"document": said, "screen": [["gateway", "gw-0042"]], "configuration": checksum(text.encode()), "exit": 1}
    return sound | changes


TEXT = "endpoint: x.example\n"


@pytest.fixture(name="config")
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a configuration; the environment says that its daemon listens beside it."""
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    monkeypatch.setenv(fast_path.RUNTIME, str(tmp_path / "run"))
    return path


def status(config: Path) -> int | None:
    """Type it."""
    return fast_path.status(["--config", str(config), "status"])


def test_the_daemons_answer_about_this_file_is_shown(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its exit code; for a machine as the document alone."""
    with Answering(config.parent / "run", answer(config, TEXT)) as daemon:
        assert status(config) == 1
        assert capsys.readouterr().out.split() == ["gateway", "gw-0042"]
        assert fast_path.status(["--config", str(config), "status", "--json"]) == 1
        assert json.loads(capsys.readouterr().out) == {"config": str(config)}
    assert [json.loads(request) for request in daemon.asked] == [{"verb": "status"}] * 2


def test_the_daemons_answer_is_watched_for_as_long_as_there_is_a_reader(config: Path) -> None:
    """By the real command; it ends with the gateway's exit code."""
    with Answering(config.parent / "run", answer(config, TEXT)):
        line = [COMMAND, "--config", str(config), "status", "--watch"]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline().split() == ["gateway", "gw-0042"]
        process.stdout.close()
        assert process.wait(60) == 1


def test_where_no_daemon_listens_the_ordinary_way_answers(config: Path) -> None:
    """It knows whether there should be one."""
    assert status(config) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"document": {"config": "/etc/iot-cert-agent/config.yaml"}},
        {"document": {}},
        {"document": []},
        {"screen": None, "configuration": None},
        {"configuration": checksum(b"endpoint: y.example\n")},
        {"event": "error", "document": None, "exit": 4},
    ],
    ids=["another file", "no file", "no document", "an older version", "another text", "a refusal"],
)
def test_an_answer_that_is_not_about_this_file_is_not_shown(
    config: Path, changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon at the usual place may be another gateway's, or older than the command."""
    with Answering(config.parent / "run", answer(config, TEXT, **changes)):
        assert status(config) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    ["", f"{TEXT}# a word\n", "endpoint: y.example\n", f"{TEXT}runtime_dir: /elsewhere\n", "endpoint: [\n"],
)
def test_a_file_that_was_changed_is_read_first(config: Path, text: str) -> None:
    """It may name another daemon by now, whatever the one at the old place says."""
    with Answering(config.parent / "run", answer(config, TEXT)):
        config.write_text(text)
        assert status(config) is None


def test_a_file_that_is_gone_or_may_not_be_read_is_the_ordinary_ways(config: Path) -> None:
    """Which says so."""
    with Answering(config.parent / "run", answer(config, TEXT)):
        config.unlink()
        assert status(config) is None
        config.mkdir()
        assert status(config) is None


@pytest.mark.parametrize("broken", ["rotation: {max_age: soon}\n", "port: 0\n", "endpoint: y\nprot: 7\n"])
def test_a_broken_file_does_not_hide_the_gateway(
    config: Path, broken: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon goes on with what it read, and is found by what is sound in the file as it is now."""
    monkeypatch.delenv(fast_path.RUNTIME)
    runtime = config.parent / "run"
    config.write_text(f"{broken}runtime_dir: {runtime}\n")
    with Answering(runtime, answer(config, TEXT)):
        assert main(["--config", str(config), "status"]) == 1
    assert capsys.readouterr().out.split() == ["gateway", "gw-0042"]


def test_a_file_that_is_no_yaml_leads_to_the_usual_place(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Or to where the environment points; without a daemon of this file there, the complaint is shown."""
    config.write_text("endpoint: [\n")
    with Answering(config.parent / "run", answer(config, TEXT)):
        assert main(["--config", str(config), "status"]) == 1
        assert main(["--config", str(config), "explain"]) == 2
    assert main(["--config", str(config), "status"]) == 2
    assert "it is not sound YAML" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["runtime_dir: relative\n", "runtime_dir: [/a]\n"])
def test_a_broken_runtime_directory_is_complained_of(
    config: Path, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No daemon is asked in its place but one that says it runs with this file."""
    monkeypatch.delenv(fast_path.RUNTIME)
    config.write_text(TEXT + text)
    assert main(["--config", str(config), "status"]) == 2
    assert "runtime_dir: an absolute path is expected" in capsys.readouterr().err


def test_the_usual_place_is_the_configurations() -> None:
    """It stands here too, since reading the configuration's modules would take too long."""
    assert str(DEFAULT_RUNTIME_DIR) == fast_path.DEFAULT_RUNTIME


def test_it_brings_nothing_heavy_along() -> None:
    """The daemon has the answer ready: no YAML, no cryptography, no rules and no parser are needed to print it."""
    script = (
        "import sys, agent.cli.command_line.fast_path, agent.cli.carrying.client, agent.cli.writing.output; "
        "import agent.cli.looking.watch, agent.core.checksum; "
        "print(*sys.modules)"
    )
    loaded = set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )

    assert "agent.cli.command_line.fast_path" in loaded
    assert not loaded & {"yaml", "cryptography", "hashlib", "awscrt", "argparse", "agent.config", "agent.core.change"}
    assert not loaded & {"agent.core.report", "agent.core.when", "datetime"}
