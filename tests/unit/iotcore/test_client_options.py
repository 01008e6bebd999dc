from __future__ import annotations

from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest
from awscrt.exceptions import AwsCrtError

from agent.iotcore.client_options import request_failure

REPLY = "AWS_ERROR_MQTT_REQUEST_RESPONSE_TIMEOUT"
ACK = "AWS_ERROR_MQTT_TIMEOUT"
UNHEARD = "AWS_ERROR_MQTT_REQUEST_RESPONSE_SUBSCRIBE_FAILURE"
UNSAID = "AWS_ERROR_MQTT_REQUEST_RESPONSE_PUBLISH_FAILURE"
OTHER = "AWS_ERROR_MQTT_UNEXPECTED_HANGUP"


def raised(name: str) -> BaseException:
    """Return what the SDK raises, by its name; a wait of Python's own has none."""
    return AwsCrtError(0, name, "") if name else FutureTimeoutError()


@pytest.mark.parametrize(
    ("name", "lost", "code", "said"),
    [
        (REPLY, False, "no-reply", "was not answered in time"),
        (ACK, False, "no-reply", "was not answered in time"),
        ("", False, "no-reply", "was not answered in time"),
        (REPLY, True, "session-lost", "(the broker hung up)"),
        (OTHER, True, "session-lost", f"({OTHER})"),
        (OTHER, False, "session-lost", f"({OTHER})"),
        (UNHEARD, True, "not-sent", UNHEARD),
        (UNHEARD, False, "not-authorised", "Subscribe to a/b"),
        (UNSAID, False, "not-authorised", "Subscribe to a/b"),
    ],
)
def test_what_it_means_that_a_request_brought_no_answer(name: str, lost: bool, code: str, said: str) -> None:  # noqa: FBT001 - a column
    """A wait that is over is no connection that broke, of a request as of a packet."""
    failure = request_failure("Subscribe to a/b", raised(name), lost=lost)
    assert failure.code == code
    assert said in failure.message
