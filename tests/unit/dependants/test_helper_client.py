"""The agent's side of the helper: what it asks, and what it makes of answers that are none."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import MAX_REPORT, Occasion, Report, Step, encode_report
from agent.core.failure.failure import FailureClass
from agent.core.jsonio import encode
from agent.dependants import helper as module
from agent.dependants.helper import Helper
from agent.errors import CloudError
from support.make import NOW
from support.shorthand import planted
from support.unit.dependants.helper import GOOD, PATIENCE, HelperAtWork

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BAD = Report(at=NOW, generation=7, set="ab" * 32, steps=(Step(name="a.service", problem="It does not."),))
DECISIVE = Report(
    at=NOW, generation=7, set="ab" * 32, steps=(Step(name="a.service", problem="It does not.", goes_back=True),)
)


# -- the agent's side --------------------------------------------------------------------------------------------------


def test_the_agent_asks_with_the_word_and_takes_the_report(desk: HelperAtWork) -> None:
    """What there is to say and no more."""
    assert Helper(desk.path).ask(Occasion.ROLLED_BACK) == GOOD
    Helper(desk.path).take_up(Occasion.ACTIVATED)
    assert desk.asked == [Occasion.ROLLED_BACK, Occasion.ACTIVATED]


@pytest.mark.parametrize(("report", "decisive"), [(BAD, False), (DECISIVE, True)])
def test_a_problem_is_a_failure_and_decides_as_it_is_configured(
    desk: HelperAtWork, report: Report, *, decisive: bool
) -> None:
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
    """No socket at all, and one without a listener."""
    with pytest.raises(CloudError, match="No such file or directory") as caught:
        Helper(place / "socket").ask(Occasion.AGAIN)
    assert "sudo systemctl enable --now iot-cert-agent-deploy.socket" in caught.value.failure.remedy

    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place / "socket"))
        assert "Connection refused" in refusal(place / "socket")
    assert "cannot be reached" in refusal(place / ("x" * 200))


@pytest.mark.root
@pytest.mark.parametrize("kind", sorted(planted.KINDS.keys() - {"socket", "dangling"}))
def test_what_stands_in_place_of_the_socket_is_told_at_once(place: Path, kind: str) -> None:
    """Only a person can move it, so no change waits for that; of a link it is what that leads to."""
    with planted.at(place / "socket", kind), pytest.raises(CloudError) as caught:
        Helper(place / "socket").take_up(Occasion.ACTIVATED)
    failure = caught.value.failure
    assert (failure.kind, failure.code, failure.decisive) == (FailureClass.DEPENDANT, "dependant-untried", False)
    what = "a link that leads back to itself, where" if kind == "loop" else "a"
    assert failure.message.startswith(f"The dependants are not served: {place}/socket is {what} ")
    assert failure.remedy.startswith("Move it out of the way")


@pytest.mark.root
def test_a_socket_that_is_not_the_agents_is_told(desk: HelperAtWork) -> None:
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
