"""Failures of a connection, one after the other."""

from __future__ import annotations

from hypothesis import strategies as st

from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from support import make

F = FailureClass
ALMOST_ONE = 1 - 2**-53
CHANCE = st.floats(0, 1, exclude_max=True)
HOST = "abc-ats.iot.eu-west-1.amazonaws.com"

DNS = failures.name_not_found(HOST)
HUNG_UP = failures.hung_up()
THROTTLED = failures.connect_throttled("QUOTA_EXCEEDED")
UNTRUSTED = failures.server_certificate(HOST, Code.UNKNOWN_ROOT, "no anchor signs it")
ENDED = failures.lost("ADMINISTRATIVE_ACTION")
WRONG_CLOCK = make.failure(F.CLOCK, "server-certificate-expired")

FAILURES = [
    DNS,
    failures.unreachable(HOST, 8883, "no route to host"),
    failures.tls_interrupted(HOST, "closed by the other side"),
    UNTRUSTED,
    failures.certificate_alert("AWS_IO_TLS_ERROR_ALERT_RECEIVED"),
    HUNG_UP,
    failures.silent(),
    failures.not_authorised("connect"),
    THROTTLED,
    failures.broker_unavailable("SERVER_UNAVAILABLE"),
    failures.session_lost("AWS_ERROR_MQTT_UNEXPECTED_HANGUP"),
    ENDED,
    WRONG_CLOCK,
]
ANY_FAILURE = st.sampled_from(FAILURES)
