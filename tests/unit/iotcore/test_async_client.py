"""An attempt of the real SDK is over once, whenever it is given up; an SDK that keeps silent holds nothing up."""

from __future__ import annotations

import os
import queue
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, cast

import pytest
from awscrt import mqtt_request_response
from awscrt.exceptions import AwsCrtError

from agent.core.aws.endpoints import Endpoint
from agent.core.failure import failures
from agent.core.failure.failure import needs_control
from agent.iotcore.async_client import Link
from agent.iotcore.client_options import Connector, Timeouts, lost_by
from agent.sandbox.account.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.core.failure.failure import Failure

ROOT = Authority("root A", datetime.now(UTC))
CLAIM = ROOT.issue_claim(datetime.now(UTC))
PATIENCE = 60.0  # seconds; the machine may be busy with other things


class Listening:
    """A loop of its own, and what is heard in it."""

    def __init__(self, port: int) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.heard: list[Failure | None] = []
        endpoint = Endpoint(host="127.0.0.1", port=port)
        self.link = Link(Connector(endpoint, Timeouts(connect=PATIENCE)), self._posted.put, self)

    def open(self) -> None:
        """Begin to connect."""
        self.link.open("generation 1", "gw-0042", (CLAIM.key_pem, CLAIM.certificate_pem), ROOT.pem)

    def on_up(self, _link: Link) -> None:
        """It cannot come up."""
        raise AssertionError("the port refuses")

    def on_over(self, _link: Link, failure: Failure | None, *, taken_over: bool) -> None:
        """Take down why it is over."""
        assert not taken_over
        self.heard.append(failure)

    def until_over(self) -> Failure | None:
        """Carry out what is posted until the link is over."""
        end = time.monotonic() + PATIENCE
        while not self.heard:
            self._posted.get(timeout=max(0.1, end - time.monotonic()))()
        return self.heard[0]


@pytest.fixture
def attempt() -> Iterator[Callable[[], Listening]]:
    """Give attempts at a port that is bound and refuses: the SDK lets go of the socket at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield lambda: Listening(taken.getsockname()[1])


def test_an_attempt_is_over_that_is_given_up_before_it_has_begun(attempt: Callable[[], Listening]) -> None:
    """The SDK tells of no stop then: the daemon would wait for it, and never connect again."""
    for _ in range(5):
        listening = attempt()
        listening.open()
        listening.link.close()
        assert listening.until_over() is None


def test_an_attempt_that_brings_nothing_in_time_is_over_with_its_reason(attempt: Callable[[], Listening]) -> None:
    """Its time may end before the SDK has begun, where the machine is busy."""
    listening = attempt()
    listening.open()
    listening.link.expire()
    failure = listening.until_over()
    assert failure is not None
    assert failure.code == "connack-timeout"


@pytest.mark.parametrize("how", ["close", "expire"])
def test_a_link_that_is_abandoned_is_over_at_once_and_once(attempt: Callable[[], Listening], how: str) -> None:
    """What the SDK says later is about a link that is over."""
    listening = attempt()
    listening.open()
    getattr(listening.link, how)()
    listening.link.abandon()
    assert len(listening.heard) == 1
    listening.link.abandon()
    assert len(listening.heard) == 1


def test_a_link_that_is_wanted_is_not_abandoned(attempt: Callable[[], Listening]) -> None:
    """The time of the first attempt's end passes while a connection lasts."""
    listening = attempt()
    listening.open()
    listening.link.abandon()
    assert listening.heard == []
    listening.link.close()
    assert listening.until_over() is None


def test_a_link_that_never_came_up_cannot_be_lost(attempt: Callable[[], Listening]) -> None:
    """It ends by itself, with what its attempt met."""
    listening = attempt()
    listening.open()
    listening.link.lose(failures.path_lost("The cable was pulled."))
    failure = listening.until_over()
    assert failure is not None
    assert failure.code == "unreachable"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("AWS_ERROR_MQTT5_PING_RESPONSE_TIMEOUT", "path-lost"),
        ("AWS_ERROR_MQTT_UNEXPECTED_HANGUP", "hung-up"),
        (None, "hung-up"),
    ],
)
def test_silence_is_told_from_a_hang_up(name: str | None, code: str) -> None:
    """A refused certificate explains a hang-up, and no silence."""
    error = None if name is None else AwsCrtError(1, name, "text")
    failure = lost_by(error, Timeouts())
    assert failure.code == code
    assert needs_control(failure) is (code == "hung-up")


def test_a_link_that_dies_silently_is_noticed_within_a_minute() -> None:
    """The broker, too, waits for no longer than one and a half times what is promised to it."""
    assert Timeouts().keep_alive + Timeouts().sign_of_life < 60
    assert Timeouts().keep_alive >= 30


class Streams:
    """Stands for the SDK's client of streams: it keeps what listens."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[mqtt_request_response.IncomingPublishEvent], None]] = []

    def create_stream(self, options: mqtt_request_response.StreamingOperationOptions) -> Self:
        """Keep a listener."""
        assert options.incoming_publish_listener is not None
        self.listeners.append(options.incoming_publish_listener)
        return self

    def open(self) -> None:
        """It is open."""


def test_a_flood_of_messages_costs_the_memory_and_the_time_of_one() -> None:
    """What another overtakes before the loop comes to it is not read; what comes later is, and the last is not lost."""
    posted: list[Callable[[], None]] = []
    heard: list[bytes] = []
    link = Link(Connector(Endpoint(host="127.0.0.1", port=1), Timeouts(connect=1)), posted.append, Listening(1))
    streams = Streams()
    link._requests = cast("mqtt_request_response.Client", streams)
    link.listen("a/topic", heard.append)
    link.listen("another/topic", heard.append)
    for number in range(10_000):
        for listener in streams.listeners:
            listener(mqtt_request_response.IncomingPublishEvent(topic="", payload=b"%d" % number))
    assert len(posted) == 2
    while posted:
        posted.pop(0)()
    assert heard == [b"9999", b"9999"]
    streams.listeners[0](mqtt_request_response.IncomingPublishEvent(topic="", payload=b"later"))
    streams.listeners[1](mqtt_request_response.IncomingPublishEvent(topic="", payload=None))
    while posted:
        posted.pop(0)()
    assert heard[2:] == [b"later", b""]


WITHOUT_THREADS = """
import os, resource, sys
from agent.core.aws.endpoints import Endpoint
from agent.errors import CloudError
from agent.iotcore.client_options import Connector, Timeouts
os.setuid(int(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    Connector(Endpoint(host="127.0.0.1"), Timeouts()).options("gw-0042", None)
except CloudError as error:
    print(error.failure.kind, error.failure.message, error.failure.remedy)
"""


def test_a_machine_without_a_thread_to_give_is_blamed_for_that() -> None:
    """It is no defect, and says nothing against the set: the connection is tried again."""
    command = [sys.executable, "-c", WITHOUT_THREADS, str(os.getuid() or 65_534)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told.startswith("network No connection can be begun on this machine (")
    assert "raise `ulimit -u`" in told
