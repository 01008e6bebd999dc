"""The helper that runs as root: five words, one after the other, however a peer asks; and the agent's side."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import (
    MAX_REPORT,
    Dependants,
    Hooks,
    Leave,
    Occasion,
    Report,
    Step,
    Unit,
    encode_report,
)
from agent.core.failure.failure import FailureClass
from agent.core.jsonio import encode
from agent.dependants import helper as module
from agent.dependants.deployer import Deployer
from agent.dependants.helper import WORDS, Helper, serve
from agent.errors import AgentError, CloudError, ConfigError, RefusedError
from support.make import NOW
from support.systemd import NOBODY, Systemctl, lay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 120.0  # seconds, which nothing here takes
GOOD = Report(at=NOW, generation=7, set="ab" * 32, steps=(Step(name="a.service"),))
BAD = Report(at=NOW, generation=7, set="ab" * 32, steps=(Step(name="a.service", problem="It does not."),))
DECISIVE = Report(
    at=NOW, generation=7, set="ab" * 32, steps=(Step(name="a.service", problem="It does not.", goes_back=True),)
)

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


class Desk:
    """A helper that is at work, and what it was asked to do.

    Attributes:
        path: Its socket.
        asked: What it was asked to do.
        report: What it answers, or raises.
        owner: Who may ask.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked: list[Occasion | Leave] = []
        self.report: Report | AgentError = GOOD
        self.owner = os.geteuid()
        self.refusal: AgentError | None = None

    def deploy(self, occasion: Occasion | Leave) -> Report:
        """Remember what is asked, and answer."""
        self.asked.append(occasion)
        if isinstance(self.report, AgentError):
            raise self.report
        return self.report

    def whose(self) -> int:
        """Return who may ask."""
        if self.refusal is not None:
            raise self.refusal
        return self.owner

    def connect(self) -> socket.socket:
        """Connect to it."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.path))
        return connection

    def say(self, data: bytes, *, end: bool = False) -> bytes:
        """Say something, and return the whole answer."""
        with self.connect() as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            return heard(connection)


def heard(connection: socket.socket) -> bytes:
    """Return all that a peer says until it hangs up."""
    data = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            data += part
    return data


@contextmanager
def at_work(path: Path, deploy: Callable[..., Report], owner: Callable[[], int]) -> Iterator[threading.Thread]:
    """Let a helper serve a socket, and end it with one more connection unless it has ended."""
    over = threading.Event()

    def whose() -> int:
        if over.is_set():
            raise SystemExit
        return owner()

    def work() -> None:
        with suppress(SystemExit):
            serve(listener, whose, deploy)

    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as last:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(512)
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield thread
        finally:
            over.set()
            last.connect(str(path))
            last.sendall(b"again\n")
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture(name="desk")
def _desk(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(module, "SAYING", PATIENCE)  # a busy machine is no reason to refuse those who behave
    desk = Desk(place / "socket")
    with at_work(desk.path, desk.deploy, desk.whose):
        yield desk


# -- what it takes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("occasion", [*Occasion, *Leave])
@pytest.mark.parametrize("end", [b"\n", b"", b"\n\n"])
def test_five_words_are_served(desk: Desk, occasion: Occasion | Leave, end: bytes) -> None:
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
def test_anything_else_is_refused_and_nothing_is_done(desk: Desk, data: bytes) -> None:
    """It is no word, more than a word, or no end of one."""
    answer = b""
    with suppress(BrokenPipeError, ConnectionResetError):
        answer = desk.say(data, end=True)
    assert answer in {b"", encode({"error": f"one of {', '.join(WORDS)} is expected."}) + b"\n"}
    assert bool(answer) or len(data) > 4096
    assert desk.asked == []
    assert desk.say(b"again\n").startswith(b'{"at":')


@pytest.mark.parametrize("error", [RefusedError("Not now.", hint="Later."), ConfigError("x" * 9000, hint="y" * 9000)])
def test_what_cannot_be_done_is_told(desk: Desk, error: AgentError) -> None:
    """With what to do about it, and no more than the agent takes."""
    desk.report = error
    with pytest.raises(CloudError) as caught:
        Helper(desk.path).ask(Occasion.AGAIN)
    assert caught.value.failure.message.startswith(f"The dependants were not served: {str(error)[:1900]}"[:1900])
    assert caught.value.failure.remedy == error.hint[:1000]


# -- who may ask -------------------------------------------------------------------------------------------------------


def said_by(uid: int, path: Path) -> bytes:
    """Ask as another user, and return the answer."""
    command = [sys.executable, "-ISc", TALK, str(path)]
    return subprocess.run(command, user=uid, group=uid, extra_groups=[], capture_output=True, check=True).stdout


@pytest.mark.root
def test_another_user_is_refused(desk: Desk) -> None:
    """By the kernel's word, before anything is read of it."""
    assert said_by(NOBODY, desk.path) == encode({"error": "only the agent's user may ask for this."}) + b"\n"
    assert desk.asked == []


@pytest.mark.root
def test_the_agents_user_and_root_are_served(desk: Desk) -> None:
    """Who that is, is looked up each time."""
    desk.owner = NOBODY
    assert said_by(NOBODY, desk.path) == encode_report(GOOD) + b"\n"
    assert said_by(0, desk.path) == encode_report(GOOD) + b"\n"
    desk.owner = 1
    assert b"only the agent's user" in said_by(NOBODY, desk.path)
    assert len(desk.asked) == 2


@pytest.mark.root
def test_when_the_agents_user_is_unknown_no_peer_is_served(desk: Desk) -> None:
    """As while the configuration is broken: the sentence is told."""
    desk.refusal = ConfigError("config.yaml:3: it is not sound YAML")
    assert b"not sound YAML" in said_by(NOBODY, desk.path)
    assert desk.asked == []


# -- those who do not behave -------------------------------------------------------------------------------------------


@pytest.fixture(name="strict")
def _strict(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """One that gives its callers the time that it gives them on a gateway."""
    monkeypatch.setattr(module, "SAYING", 2.0)
    return desk


def test_one_that_says_nothing_is_not_waited_for(strict: Desk) -> None:
    """The next one is served all the same."""
    with strict.connect() as mute:
        assert strict.say(b"again\n") == encode_report(GOOD) + b"\n"
        assert b"no word came in time" in heard(mute)
    assert strict.asked == [Occasion.AGAIN]


def test_one_that_speaks_slowly_has_a_time_for_all_of_it(strict: Desk) -> None:
    """Each byte in time does not make the word in time, of which there may be so many bytes and no more."""
    with strict.connect() as slow:
        with suppress(ConnectionError):
            for byte in b"activated" * 3:
                slow.sendall(bytes([byte]))
                sleep(0.2)
        assert b"no word came in time" in heard(slow)
    assert strict.say(b"again\n").startswith(b'{"at":')
    assert strict.asked == [Occasion.AGAIN]


def test_one_that_hangs_up_before_the_answer_harms_no_other(desk: Desk) -> None:
    """Before its word, after it, and while it is served."""
    with desk.connect():
        pass
    with desk.connect() as connection:
        connection.sendall(b"activated\n")
    assert desk.say(b"again\n") == encode_report(GOOD) + b"\n"
    assert desk.asked[-1] is Occasion.AGAIN


def test_one_that_does_not_take_its_answer_is_not_waited_for(strict: Desk) -> None:
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
    desk = Desk(place / "socket")
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
    desk = Desk(place / "socket")
    with at_work(desk.path, deployer.serve, os.geteuid):
        crowd = [desk.connect() for _ in range(200)]
        for number, connection in enumerate(crowd):
            connection.sendall(list(Occasion)[number % 3].value.encode() + b"\n")
        answers = [heard(connection) for connection in crowd]
        for connection in crowd:
            connection.close()

    assert all(answer.startswith(b'{"at":') for answer in answers)
    assert len(systemctl.orders) == 1


# -- the agent's side --------------------------------------------------------------------------------------------------


def test_the_agent_asks_with_the_word_and_takes_the_report(desk: Desk) -> None:
    """What there is to say and no more."""
    assert Helper(desk.path).ask(Occasion.ROLLED_BACK) == GOOD
    Helper(desk.path).take_up(Occasion.ACTIVATED)
    assert desk.asked == [Occasion.ROLLED_BACK, Occasion.ACTIVATED]


@pytest.mark.parametrize(("report", "decisive"), [(BAD, False), (DECISIVE, True)])
def test_a_problem_is_a_failure_and_decides_as_it_is_configured(desk: Desk, report: Report, *, decisive: bool) -> None:
    """By what the report says, since the configuration that counts is root's."""
    desk.report = report
    with pytest.raises(CloudError, match=r"It does not\.") as caught:
        Helper(desk.path).take_up(Occasion.ACTIVATED)
    assert (caught.value.failure.kind, caught.value.failure.decisive) == (FailureClass.DEPENDANT, decisive)
    assert Helper(desk.path).ask(Occasion.ACTIVATED) == report


def test_where_nothing_answers_all_dependants_are_named(tmp_path: Path) -> None:
    """None of them was served, and an operator has to look after each."""
    with pytest.raises(CloudError) as caught:
        Helper(tmp_path / "gone", ("copy /etc/app.pem", "nginx.service")).take_up(Occasion.ACTIVATED)

    assert caught.value.failure.message.startswith("The dependants are not served: ")
    assert caught.value.failure.message.endswith(" Not served: copy /etc/app.pem, nginx.service.")


def refusal(path: Path) -> str:
    """Ask in vain, and return why; whatever it is, it decides nothing."""
    with pytest.raises(CloudError) as caught:
        Helper(path).take_up(Occasion.ACTIVATED)
    failure = caught.value.failure
    assert (failure.kind, failure.code, failure.decisive) == (FailureClass.DEPENDANT, "dependant", False)
    assert failure.remedy
    return failure.message


def test_without_a_helper_that_is_told_with_what_enables_it(place: Path) -> None:
    """No socket at all, one without a listener, and a file that is none."""
    with pytest.raises(CloudError, match="No such file or directory") as caught:
        Helper(place / "socket").ask(Occasion.AGAIN)
    assert "sudo systemctl enable --now iot-cert-agent-deploy.socket" in caught.value.failure.remedy

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place / "socket"))
        assert "Connection refused" in refusal(place / "socket")
    (place / "file").touch()
    assert "cannot be reached" in refusal(place / "file")
    assert "cannot be reached" in refusal(place / ("x" * 200))


@pytest.mark.root
def test_a_socket_that_is_not_the_agents_is_told(desk: Desk) -> None:
    """The kernel refuses it."""
    desk.path.chmod(0o600)
    script = (
        "import sys; from pathlib import Path; from agent.dependants.helper import Helper\n"
        "from agent.core.dependants import Occasion; from agent.errors import CloudError\n"
        "import os; os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "try:\n    Helper(Path(sys.argv[1])).ask(Occasion.AGAIN)\nexcept CloudError as error:\n    print(error)"
    )
    shown = subprocess.run([sys.executable, "-Ic", script, str(desk.path)], capture_output=True, text=True, check=True)
    assert shown.stdout.endswith("cannot be reached (Permission denied).\n")


@contextmanager
def answering(path: Path, talk: Callable[[socket.socket], None]) -> Iterator[None]:
    """Be a helper that answers as it likes, once."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def one() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(PATIENCE)
                connection.recv(100)
                talk(connection)

        thread = threading.Thread(target=one)
        thread.start()
        yield
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "ended without an answer"),
        (b"\n", "ended without an answer"),
        (b"garbage\n", "not sound JSON"),
        (b"\xff\xfe\n", "not sound JSON"),
        (b"[]\n", "an object is expected"),
        (b"{}\n", "a time is expected"),
        (encode_report(GOOD)[:-20], "not sound JSON"),
        (encode_report(GOOD) + b"\n{}\n", "not sound JSON"),
        (b'{"a":' * 9000 + b"\n", "not sound JSON"),
        (b'{"error":7}\n', "text of at most"),
        (b'{"error":"It is.","hint":7}\n', "text of at most"),
        (encode({"error": "x" * 5000}), "text of at most"),
        (encode({"error": "It is\n\x1b[2J broken."}), "It is  [2J broken."),
        (b" " * (MAX_REPORT + 5), f"and {MAX_REPORT} are allowed"),
    ],
)
def test_an_answer_that_is_none_is_a_failure_that_decides_nothing(place: Path, data: bytes, said: str) -> None:
    """Garbage, nothing, half of one, too much: each is a sentence."""
    with answering(place / "socket", lambda connection: connection.sendall(data)):
        assert said in refusal(place / "socket")


def test_an_answer_without_end_is_not_read_to_its_end(place: Path) -> None:
    """The memory of a gateway is small."""
    sent = [0]

    def talk(connection: socket.socket) -> None:
        for _ in range(100_000):
            sent[0] += connection.send(b"x" * 4096)

    with answering(place / "socket", talk):
        assert "are allowed" in refusal(place / "socket")
    assert sent[0] < 10 * 1024 * 1024


@pytest.mark.parametrize("drip", [False, True])
def test_a_helper_that_never_answers_is_not_waited_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, *, drip: bool
) -> None:
    """Neither is one that says a byte now and then."""
    monkeypatch.setattr(module, "LONGEST", timedelta(seconds=0.2))
    monkeypatch.setattr(module, "SPARE", 0.2)
    over = threading.Event()

    def talk(connection: socket.socket) -> None:
        while drip and not over.wait(0.02):
            connection.sendall(b" ")
        over.wait(PATIENCE)

    with answering(place / "socket", talk):
        assert refusal(place / "socket") == "The dependants were not served: the helper does not answer."
        over.set()
