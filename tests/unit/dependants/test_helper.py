"""The helper that runs as root: five words, one after the other, however a peer asks; and the agent's side."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import Dependants, Hooks, Leave, Occasion, Report, Step, Unit, encode_report
from agent.core.jsonio import encode
from agent.dependants import helper as module
from agent.dependants.deployer import Deployer
from agent.dependants.helper import WORDS, Helper
from agent.errors import AgentError, CloudError, ConfigError, RefusedError, StoreError
from support.make import NOW
from support.running.systemd import Systemctl, lay
from support.suite.surroundings import NOBODY
from support.unit.dependants.helper import GOOD, PATIENCE, HelperAtWork, at_work, heard

if TYPE_CHECKING:
    from pathlib import Path

TALK = """
import socket, sys
from contextlib import suppress
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    with suppress(BrokenPipeError):  # a peer that is refused is not listened to
        connection.sendall(b"again\\n")
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            print(part.decode(), end="")
"""


# -- what it takes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("occasion", [*Occasion, *Leave])
@pytest.mark.parametrize("end", [b"\n", b"", b"\n\n"])
def test_five_words_are_served(desk: HelperAtWork, occasion: Occasion | Leave, end: bytes) -> None:
    """With a line break, or with the end of what is said."""
    assert desk.say(occasion.value.encode() + end, end=not end) == encode_report(GOOD) + b"\n"
    assert desk.asked == [occasion]


@pytest.mark.parametrize(
    "data",
    [
        b"\n", b"AGAIN\n", b"again \n", b" again\n", b"again\0\n", b"again\r\n", b"again\nactivated\n", b"reload x\n",
        b"rolled_back\n", b"\xff\n", b'{"occasion":"again"}\n', b"agai", b"",
        b"again" * 7, b"again\n" * 10_000, b"x" * 100_000,
    ],
)  # fmt: skip
def test_anything_else_is_refused_and_nothing_is_done(desk: HelperAtWork, data: bytes) -> None:
    """It is no word, more than a word, or no end of one."""
    answer = b""
    with suppress(BrokenPipeError, ConnectionResetError):
        answer = desk.say(data, end=True)
    assert answer in {b"", encode({"error": f"one of {', '.join(WORDS)} is expected."}) + b"\n"}
    assert bool(answer) or len(data) > 4096
    assert desk.asked == []
    assert desk.say(b"again\n").startswith(b'{"at":')


@pytest.mark.parametrize(
    "error",
    [RefusedError("Not now.", hint="Later."), ConfigError("x" * 9000, hint="y" * 9000), StoreError("It is a file.")],
)
def test_what_cannot_be_done_is_told(desk: HelperAtWork, error: AgentError) -> None:
    """With what to do about it, and no more than the agent takes."""
    desk.report = error
    with pytest.raises(CloudError) as caught:
        Helper(desk.path).ask(Occasion.AGAIN)
    assert caught.value.failure.message.startswith(f"The dependants were not served: {str(error)[:1900]}"[:1900])
    barred = type(error) is StoreError  # which only a person ends, and no change waits for
    assert caught.value.failure.code == ("dependant-untried" if barred else "dependant")
    assert barred or caught.value.failure.remedy == error.hint[:1000]


# -- who may ask -------------------------------------------------------------------------------------------------------


def said_by(uid: int, path: Path) -> bytes:
    """Ask as another user, and return the answer."""
    command = [sys.executable, "-ISc", TALK, str(path)]
    return subprocess.run(command, user=uid, group=uid, extra_groups=[], capture_output=True, check=True).stdout


@pytest.mark.root
def test_another_user_is_refused(desk: HelperAtWork) -> None:
    """By the kernel's word, before anything is read of it."""
    assert said_by(NOBODY, desk.path) == encode({"error": "only the agent's user may ask for this."}) + b"\n"
    assert desk.asked == []


@pytest.mark.root
def test_the_agents_user_and_root_are_served(desk: HelperAtWork) -> None:
    """Who that is, is looked up each time."""
    desk.owner = NOBODY
    assert said_by(NOBODY, desk.path) == encode_report(GOOD) + b"\n"
    assert said_by(0, desk.path) == encode_report(GOOD) + b"\n"
    desk.owner = 1
    assert b"only the agent's user" in said_by(NOBODY, desk.path)
    assert len(desk.asked) == 2


@pytest.mark.root
def test_when_the_agents_user_is_unknown_no_peer_is_served(desk: HelperAtWork) -> None:
    """As while the configuration is broken: the sentence is told."""
    desk.refusal = ConfigError("config.yaml:3: it is not sound YAML")
    assert b"not sound YAML" in said_by(NOBODY, desk.path)
    assert desk.asked == []


# -- those who do not behave -------------------------------------------------------------------------------------------


@pytest.fixture(name="strict")
def _strict(desk: HelperAtWork, monkeypatch: pytest.MonkeyPatch) -> HelperAtWork:
    """One that gives its callers the time that it gives them on a gateway."""
    monkeypatch.setattr(module, "SAYING", 2.0)
    return desk


def test_one_that_says_nothing_is_not_waited_for(strict: HelperAtWork) -> None:
    """The next one is served all the same."""
    with strict.connect() as mute:
        assert strict.say(b"again\n") == encode_report(GOOD) + b"\n"
        assert b"no word came in time" in heard(mute)
    assert strict.asked == [Occasion.AGAIN]


def test_one_that_speaks_slowly_has_a_time_for_all_of_it(strict: HelperAtWork) -> None:
    """Each byte in time does not make the word in time, of which there may be so many bytes and no more."""
    with strict.connect() as slow:
        with suppress(ConnectionError):
            for byte in b"activated" * 3:
                slow.sendall(bytes([byte]))
                sleep(0.2)
        assert b"no word came in time" in heard(slow)
    assert strict.say(b"again\n").startswith(b'{"at":')
    assert strict.asked == [Occasion.AGAIN]


def test_one_that_hangs_up_before_the_answer_harms_no_other(desk: HelperAtWork) -> None:
    """Before its word, after it, and while it is served."""
    with desk.connect():
        pass
    with desk.connect() as connection:
        connection.sendall(b"activated\n")
    assert desk.say(b"again\n") == encode_report(GOOD) + b"\n"
    assert desk.asked[-1] is Occasion.AGAIN


def test_one_that_does_not_take_its_answer_is_not_waited_for(strict: HelperAtWork) -> None:
    """More than the kernel keeps for it."""
    desk = strict
    steps = tuple(Step(name=f"{number}", problem="x" * 1000) for number in range(400))
    desk.report = Report(at=NOW, generation=7, set="ab" * 32, steps=steps)
    with desk.connect() as full:
        full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        full.sendall(b"again\n")
        desk.say(b"again\n")
    assert len(desk.asked) == 2


def test_it_ends_when_no_peer_comes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not while one does."""
    monkeypatch.setattr(module, "IDLE", 2.0)
    desk = HelperAtWork(place / "socket")
    before = monotonic()
    with at_work(desk.path, desk.deploy, desk.whose) as thread:
        desk.say(b"again\n")
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert monotonic() - before >= 2.0


def test_a_flood_reloads_nothing_twice(place: Path) -> None:
    """Two hundred at once are all answered, one after the other, and find everything done."""
    systemctl = Systemctl(place)
    systemctl.has("mosquitto.service")
    lay(place / "state", 1)
    units = (Unit(name="mosquitto.service", healthy=timedelta(0)),)
    dependants = Dependants(hooks=Hooks(directory=place / "hooks.d"), units=units)
    deployer = Deployer(dependants, place / "state", place / "deploy", systemd=systemctl.systemd)
    desk = HelperAtWork(place / "socket")
    with at_work(desk.path, deployer.serve, os.geteuid):
        crowd = [desk.connect() for _ in range(200)]
        for number, connection in enumerate(crowd):
            connection.sendall(list(Occasion)[number % 3].value.encode() + b"\n")
        answers = [heard(connection) for connection in crowd]
        for connection in crowd:
            connection.close()

    assert all(answer.startswith(b'{"at":') for answer in answers)
    assert len(systemctl.orders) == 1
