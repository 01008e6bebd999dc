from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.failure import failures, proxy_failures
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass, needs_control
from agent.core.failure.failures import MAX_QUOTED
from support import make

AMBIGUOUS = make.codes("ambiguous")
TIME_CODES = make.codes("blames_the_clock")

F = FailureClass
HOST = "abc-ats.iot.eu-west-1.amazonaws.com"
# Lone surrogates, control characters and marks of every kind included.
ANY_TEXT = st.text(st.characters(), max_size=3 * MAX_QUOTED // 2)
WAY = proxy_failures.Way(proxy="proxy.example:3128", host=HOST, port=8883)
CREATE = "CreateCertificateFromCsr"
TOKEN_INVALID = "InvalidCertificateOwnershipToken"  # noqa: S105 - an error code of the service

# Every failure of the cloud, with the class that the design's table gives it and the code that machines read.
TROUBLES: list[tuple[Failure, FailureClass, str]] = [
    (failures.name_not_found(HOST), F.NETWORK, "dns"),
    (failures.no_endpoint("There is none.", "Put one in."), F.NETWORK, "dns"),
    (failures.unreachable(HOST, 8883, "connection refused"), F.NETWORK, "unreachable"),
    (failures.unreachable(HOST, 443, "Connection refused"), F.NETWORK, "unreachable"),
    (failures.no_threads("12 (AWS_ERROR_THREAD_INSUFFICIENT_RESOURCE): Too few."), F.NETWORK, "unreachable"),
    (proxy_failures.proxy_not_found("proxy.example"), F.NETWORK, "dns"),
    (proxy_failures.proxy_unreachable("proxy.example:3128", "connection refused"), F.NETWORK, "unreachable"),
    (proxy_failures.not_a_proxy("proxy.example:3128", ""), F.NETWORK, "proxy"),
    (proxy_failures.proxy_password("it cannot be read", ""), F.NETWORK, "proxy"),
    (proxy_failures.proxy_refused(WAY, "407 Who", ["Basic"]), F.NETWORK, "proxy"),
    (failures.not_tls(HOST, 8883, "plain HTTP"), F.NETWORK, "not-tls"),
    (failures.tls_ended(HOST, "it knows no such name", "Check it."), F.NETWORK, "tls-interrupted"),
    (failures.tls_failed(HOST, "AWS_IO_TLS_ERROR_NEGOTIATION_FAILURE"), F.NETWORK, "tls-failed"),
    (failures.not_asked(HOST, 443), F.NETWORK, "certificate-not-asked-for"),
    (failures.alpn_needed(HOST, 443), F.NETWORK, "alpn-needed"),
    (failures.server_certificate(HOST, Code.WEAK_CHAIN, "SHA-1"), F.SERVER_TRUST, "server-chain-weak"),
    (failures.server_certificate(HOST, Code.UNSOUND_CHAIN, "an authority"), F.SERVER_TRUST, "server-chain-unsound"),
    (failures.tls_interrupted(HOST, "closed by the other side"), F.NETWORK, "tls-interrupted"),
    (failures.server_certificate(HOST, Code.UNKNOWN_ROOT, "no anchor signs it"), F.SERVER_TRUST, "unknown-root"),
    (failures.server_certificate(HOST, Code.WRONG_HOST, "it is for another name"), F.SERVER_TRUST, "wrong-host"),
    *(
        (failures.server_certificate(HOST, code, "its time is wrong"), F.SERVER_TRUST, code)
        for code in sorted(TIME_CODES)
    ),
    (failures.server_certificate(HOST, Code.NO_ANCHORS, "there are none"), F.SERVER_TRUST, "no-anchors"),
    (failures.tls_version(HOST, "no protocols available"), F.SERVER_TRUST, "tls-version"),
    (failures.certificate_alert("AWS_IO_TLS_ERROR_ALERT_RECEIVED"), F.CREDENTIAL, "tls-alert"),
    (failures.hung_up(), F.NETWORK, "hung-up"),
    (failures.silent(), F.NETWORK, "connack-timeout"),
    (failures.not_mqtt(HOST, 8883, "AWS_ERROR_MQTT5_DECODE_PROTOCOL_ERROR"), F.NETWORK, "not-mqtt"),
    (failures.not_authorised("connect"), F.POLICY, "not-authorised"),
    (failures.connect_throttled("QUOTA_EXCEEDED"), F.THROTTLED, "throttled"),
    (failures.broker_unavailable("SERVER_UNAVAILABLE"), F.NETWORK, "cloud-unavailable"),
    (failures.session_lost("AWS_ERROR_MQTT_UNEXPECTED_HANGUP"), F.NETWORK, "session-lost"),
    (failures.not_sent("AWS_ERROR_MQTT_CONNECTION_DESTROYED"), F.NETWORK, "not-sent"),
    (failures.taken_over("gw-0042"), F.NETWORK, "taken-over"),
    (failures.taken_over("gw-0042", sent=False), F.NETWORK, "taken-over-unsent"),
    (failures.no_reply(CREATE), F.NETWORK, "no-reply"),
    (failures.garbled(CREATE, "certificatePem is missing"), F.PROTOCOL, "garbled"),
    (failures.refused(CREATE, 429, "Throttled", "slow down"), F.THROTTLED, "throttled"),
    (failures.refused(CREATE, 403, "AccessDenied", "the hook says no"), F.POLICY, "denied"),
    (failures.refused(CREATE, 500, "InternalFailure", "sorry"), F.NETWORK, "cloud-unavailable"),
    (failures.refused(CREATE, 400, "InvalidCsr", "a bad request"), F.PROTOCOL, "request-refused"),
    (failures.refused("RegisterThing", 400, TOKEN_INVALID, "expired"), F.PROTOCOL, "token-invalid"),
    (failures.lost(""), F.NETWORK, "hung-up"),
    (failures.lost("ADMINISTRATIVE_ACTION"), F.NETWORK, "disconnected"),
    (failures.lost("SERVER_BUSY"), F.THROTTLED, "disconnected"),
    (failures.lost("NOT_AUTHORIZED"), F.POLICY, "disconnected"),
    (failures.declined("GetShadow", 404, "No shadow exists with this name"), F.PROTOCOL, "missing"),
    (failures.declined("UpdateJobExecution", "VersionMismatch", "it changed"), F.PROTOCOL, "request-refused"),
]
CODES = {code for _, _, code in TROUBLES}


@pytest.mark.parametrize(("failure", "kind", "code"), TROUBLES, ids=lambda value: getattr(value, "code", None))
def test_every_trouble_has_its_class_and_code_and_speaks_in_sentences(
    failure: Failure, kind: FailureClass, code: str
) -> None:
    """Class and code are what the design says, what happened is a sentence, and what to do is one or nothing."""
    assert (failure.kind, failure.code) == (kind, code)
    for sentence in (failure.message, failure.remedy, failure.promise):
        assert sentence.isprintable()
        assert sentence == sentence.strip()
    assert failure.message.endswith(".")
    assert failure.remedy.endswith(".") or not failure.remedy
    assert failure.promise.endswith(".") or not failure.promise


# What only the agent does; a person is never told to try again in these words.
_OF_THE_AGENT = re.compile(r"\b(retr(y|ies|ying)|again\b|(goes|waits) on|new connection)")


@pytest.mark.parametrize(("failure", "kind", "code"), TROUBLES, ids=lambda value: getattr(value, "code", None))
def test_what_helps_and_what_the_agent_does_next_stand_apart(failure: Failure, kind: FailureClass, code: str) -> None:
    """A change that ends takes the promise back, and what a person can do is still true then."""
    assert not _OF_THE_AGENT.search(failure.remedy)
    assert failure.final == replace(failure, promise="")
    assert failure.advice == " ".join(filter(None, (failure.remedy, failure.promise)))
    assert failure.promise or kind not in {F.NETWORK, F.THROTTLED} or code == "hung-up"  # which is judged first


@pytest.mark.parametrize(("failure", "kind", "code"), TROUBLES, ids=lambda value: getattr(value, "code", None))
def test_no_trouble_is_decisive_by_itself(failure: Failure, kind: FailureClass, code: str) -> None:
    """A refusal needs a control or patience: what is met on the wire rejects and rolls back nothing."""
    assert not failure.decisive
    assert needs_control(failure) == (kind in {F.CREDENTIAL, F.POLICY, F.SERVER_TRUST} or code in AMBIGUOUS)


@pytest.mark.parametrize(("port", "hinted"), [(8883, True), (443, False), (1883, False)])
def test_another_port_is_recommended_where_8883_may_be_blocked(port: int, *, hinted: bool) -> None:
    """On any other port the advice would be of no use."""
    failure = failures.unreachable(HOST, port, "no answer in time")

    assert ("`port: 443`" in failure.remedy) == hinted
    assert failure.message == f"{HOST} does not take connections on port {port} (no answer in time)."


@pytest.mark.parametrize("code", [Code.UNKNOWN_ROOT, Code.WRONG_HOST, *sorted(TIME_CODES)])
def test_an_untrusted_server_comes_with_advice_of_its_own(code: Code) -> None:
    """What to check depends on why the server's certificate does not verify; for any other there is only the rule."""
    other = failures.server_certificate(HOST, Code.NO_ANCHORS, "who knows")

    assert failures.server_certificate(HOST, code, "it is so").remedy != other.remedy
    assert other.advice == "The agent never connects unverified. The agent retries."


@pytest.mark.parametrize(
    ("status", "code", "kind", "found"),
    [
        (429, "Throttled", F.THROTTLED, "throttled"),
        (429, TOKEN_INVALID, F.THROTTLED, "throttled"),
        (401, "Unauthorized", F.POLICY, "denied"),
        (403, "AccessDenied", F.POLICY, "denied"),
        (403, TOKEN_INVALID, F.POLICY, "denied"),
        (500, "InternalFailure", F.NETWORK, "cloud-unavailable"),
        (503, "ServiceUnavailable", F.NETWORK, "cloud-unavailable"),
        (599, "", F.NETWORK, "cloud-unavailable"),
        (400, TOKEN_INVALID, F.PROTOCOL, "token-invalid"),
        (400, "InvalidParameters", F.PROTOCOL, "request-refused"),
        (400, "", F.PROTOCOL, "request-refused"),
        (404, "ResourceNotFound", F.PROTOCOL, "request-refused"),
        (409, "Conflict", F.PROTOCOL, "request-refused"),
        (499, "", F.PROTOCOL, "request-refused"),
    ],
)
def test_the_status_of_a_refusal_decides_its_class(status: int, code: str, kind: FailureClass, found: str) -> None:
    """Only a bad request is told apart by its error code, which says whether the token is what is wrong."""
    failure = failures.refused("RegisterThing", status, code, "Because.")

    assert (failure.kind, failure.code) == (kind, found)
    assert failure.message.startswith("RegisterThing ")
    assert failure.message.endswith(": Because.")
    assert status == 429 or f"({status} {code or 'no reason given'})" in failure.message


@pytest.mark.parametrize("reason", ["QUOTA_EXCEEDED", "SERVER_BUSY", "SESSION_TAKEN_OVER", "KEEP_ALIVE_TIMEOUT"])
def test_a_connection_that_the_broker_ended_says_why(reason: str) -> None:
    """The reason is repeated; a broker that is busy is given time."""
    failure = failures.lost(reason)

    assert failure.message == f"The broker ended the connection ({reason})."
    assert (failure.kind is F.THROTTLED) == (reason in {"QUOTA_EXCEEDED", "SERVER_BUSY"})
    assert not needs_control(failure)


def test_a_connection_that_ended_without_a_reason_was_hung_up() -> None:
    """So does AWS IoT Core when a certificate is revoked, and a control must decide."""
    assert failures.lost("") == failures.hung_up()
    assert needs_control(failures.lost(""))


@pytest.mark.parametrize(
    ("code", "kind", "found", "shown"),
    [
        (400, F.PROTOCOL, "request-refused", "400 no reason given"),
        (401, F.POLICY, "denied", "401 no reason given"),
        (403, F.POLICY, "denied", "403 no reason given"),
        (404, F.PROTOCOL, "missing", "404 no reason given"),
        (409, F.PROTOCOL, "request-refused", "409 no reason given"),
        (500, F.NETWORK, "cloud-unavailable", "500 no reason given"),
        ("InvalidRequest", F.PROTOCOL, "request-refused", "400 InvalidRequest"),
        ("InvalidStateTransition", F.PROTOCOL, "request-refused", "400 InvalidStateTransition"),
        ("TerminalStateReached", F.PROTOCOL, "request-refused", "400 TerminalStateReached"),
        ("InternalError", F.NETWORK, "cloud-unavailable", "500 InternalError"),
        (None, F.PROTOCOL, "request-refused", "400 no reason given"),
        ("", F.PROTOCOL, "request-refused", "400 no reason given"),
    ],
)
def test_a_declined_request_is_classed_by_number_or_by_name(
    code: object, kind: FailureClass, found: str, shown: str
) -> None:
    """Shadows give a number, jobs a name; a missing one is no name."""
    failure = failures.declined("It", code, "Because.")

    assert (failure.kind, failure.code) == (kind, found)
    assert f"({shown}): Because." in failure.message


def test_a_declined_request_gives_no_advice_about_templates() -> None:
    """What helps with provisioning does not help with jobs and shadows."""
    assert failures.declined("It", 404, "x").remedy == failures.declined("It", "InvalidJson", "x").remedy == ""
    assert failures.declined("It", 429, "x").message.startswith("It was throttled")


@make.MANY
@given(
    code=st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.lists(ANY_TEXT, max_size=3),
    text=ANY_TEXT,
)
def test_whatever_declines_a_request_is_told_in_one_printable_sentence(code: object, text: str) -> None:
    """The code comes from outside, too, and may be anything that JSON can hold."""
    failure = failures.declined("It", code, text)

    assert failure.message.isprintable()
    assert failure.message.endswith(".")
    assert len(failure.message) < 2 * MAX_QUOTED + 100
    assert not failure.decisive


STATUSES = [429, 401, 403, 500, 400, 404]


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("text", ["", " ", "...", "\n", "\x00", "\x1b"])
def test_a_refusal_without_a_reason_says_so(status: int, text: str) -> None:
    """An empty reason leaves no gap in the sentence."""
    assert failures.refused(CREATE, status, "Code", text).message.endswith(": no reason given.")


@pytest.mark.parametrize("status", STATUSES)
def test_a_remote_text_cannot_draw_on_a_terminal_or_forge_a_line(status: int) -> None:
    """Escape sequences, line breaks, zero bytes and marks that turn the reading direction become spaces."""
    failure = failures.refused(CREATE, status, "C\r", "a\x1b[2Jb\nc\rd\x00e\u202ef\u2028g\x85h\ud800i.")

    assert failure.message.endswith(": a [2Jb c d e f g h i.")


@pytest.mark.parametrize("status", STATUSES)
def test_a_remote_text_is_bounded(status: int) -> None:
    """However much a service says, a message stays a sentence of a few lines."""
    failure = failures.refused(CREATE, status, "c" * 10**6, "x" * 10**6)

    assert failure.message.endswith(": " + "x" * MAX_QUOTED + ".")
    assert len(failure.message) < 2 * MAX_QUOTED + 100


@make.MANY
@given(status=st.sampled_from(STATUSES) | st.integers(400, 599), code=ANY_TEXT, text=ANY_TEXT)
def test_whatever_a_service_says_is_told_in_one_printable_sentence(status: int, code: str, text: str) -> None:
    """Any text comes out bounded, without a control character, and ends in one full stop."""
    failure = failures.refused(CREATE, status, code, text)

    assert failure.message.isprintable()
    assert failure.remedy.isprintable()
    assert failure.message.endswith(".")
    assert len(failure.message) < 2 * MAX_QUOTED + 100
    assert needs_control(failure) == (failure.kind is F.POLICY)


# Reasons of MQTT 5 (section 2.4) with which a broker ends a connection or refuses one, and what each is for an
# operator: what the agent sees through by itself, and what needs a person, with the word that the remedy turns on.
REASONS = {
    "UNSPECIFIED_ERROR": (F.NETWORK, "connects again"),
    "NORMAL_DISCONNECTION": (F.NETWORK, "connects again"),
    "IMPLEMENTATION_SPECIFIC_ERROR": (F.NETWORK, "connects again"),
    "SERVER_SHUTTING_DOWN": (F.NETWORK, "connects again"),
    "MAXIMUM_CONNECT_TIME": (F.NETWORK, "connects again"),
    "KEEP_ALIVE_TIMEOUT": (F.NETWORK, "the uplink"),
    "ADMINISTRATIVE_ACTION": (F.NETWORK, "the account"),
    "NOT_AUTHORIZED": (F.POLICY, "policy"),
    "SERVER_BUSY": (F.THROTTLED, "connects again"),
    "QUOTA_EXCEEDED": (F.THROTTLED, "connects again"),
    "MESSAGE_RATE_TOO_HIGH": (F.THROTTLED, "connects again"),
    "CONNECTION_RATE_EXCEEDED": (F.THROTTLED, "connects again"),
    "USE_ANOTHER_SERVER": (F.NETWORK, "describe-endpoint"),
    "SERVER_MOVED": (F.NETWORK, "describe-endpoint"),
    "MALFORMED_PACKET": (F.NETWORK, "report this"),
    "PROTOCOL_ERROR": (F.NETWORK, "report this"),
    "TOPIC_FILTER_INVALID": (F.NETWORK, "report this"),
    "TOPIC_NAME_INVALID": (F.NETWORK, "report this"),
    "RECEIVE_MAXIMUM_EXCEEDED": (F.NETWORK, "report this"),
    "TOPIC_ALIAS_INVALID": (F.NETWORK, "report this"),
    "PACKET_TOO_LARGE": (F.NETWORK, "report this"),
    "PAYLOAD_FORMAT_INVALID": (F.NETWORK, "report this"),
    "RETAIN_NOT_SUPPORTED": (F.NETWORK, "report this"),
    "QOS_NOT_SUPPORTED": (F.NETWORK, "report this"),
    "SHARED_SUBSCRIPTIONS_NOT_SUPPORTED": (F.NETWORK, "report this"),
    "SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED": (F.NETWORK, "report this"),
    "WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED": (F.NETWORK, "report this"),
}


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_of_the_broker_is_told_with_what_follows_from_it(reason: str) -> None:
    """Alone and with a request that it cut off, whose own meaning stays: it may have been carried out."""
    kind, words = REASONS[reason]
    ending = failures.lost(reason, "as\nit says.")
    assert ending.message == f"The broker ended the connection ({reason}: as it says)."
    assert (ending.kind, words in ending.advice) == (kind, True)
    for request in (failures.session_lost("X"), failures.not_sent("X")):
        cut = failures.cut_off(request, ending)
        assert (cut.code, cut.kind, cut.advice, cut.decisive) == (request.code, kind, ending.advice, False)
        assert cut.message == f"{request.message} {ending.message}"


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("Connection refused", "A firewall refuses it, or another machine than is meant: check `endpoint` and `port`."),
        ("no answer in time", "Check the uplink, and whether a firewall drops what goes to this port."),
        ("No route to host", "Check the uplink and the firewall."),
        ("Network is unreachable", "Check the uplink and the firewall."),
    ],
)
@pytest.mark.parametrize(("port", "more"), [(8883, " If 8883 is blocked here, set `port: 443`."), (443, "")])
def test_what_to_do_without_a_connection_goes_by_what_the_system_says(
    why: str, remedy: str, port: int, more: str
) -> None:
    """A refusal has come over an uplink; silence may be anything on the way."""
    assert failures.unreachable(HOST, port, why).remedy == remedy + more
