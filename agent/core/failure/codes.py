"""The codes of failures: one table that says what follows from each, wherever that is asked.

A code is a stable name for machines: it stands in records, in status.json, in the journal and in metrics. A record of
another version may hold one that is not here; nothing follows from it but its class.
"""

from __future__ import annotations

from enum import StrEnum

from agent.core.frozen import frozen


class Code(StrEnum):
    """What happened."""

    # The way to the endpoint.
    DNS = "dns"
    UNREACHABLE = "unreachable"
    PROXY = "proxy"
    NOT_TLS = "not-tls"
    TLS_INTERRUPTED = "tls-interrupted"
    TLS_FAILED = "tls-failed"
    NOT_ASKED = "certificate-not-asked-for"
    ALPN_NEEDED = "alpn-needed"
    CONNACK_TIMEOUT = "connack-timeout"
    NOT_MQTT = "not-mqtt"
    HUNG_UP = "hung-up"
    DISCONNECTED = "disconnected"
    SESSION_LOST = "session-lost"
    PATH_LOST = "path-lost"
    NOT_SENT = "not-sent"
    NO_REPLY = "no-reply"
    TAKEN_OVER = "taken-over"
    TAKEN_OVER_UNSENT = "taken-over-unsent"
    CLOUD_UNAVAILABLE = "cloud-unavailable"
    THROTTLED = "throttled"
    VENDING_UNHEARD = "vending-unheard"
    # The server's own certificate.
    UNKNOWN_ROOT = "unknown-root"
    WRONG_HOST = "wrong-host"
    SERVER_EXPIRED = "server-certificate-expired"
    SERVER_NOT_YET_VALID = "server-certificate-not-yet-valid"
    NO_ANCHORS = "no-anchors"
    WEAK_CHAIN = "server-chain-weak"
    UNSOUND_CHAIN = "server-chain-unsound"
    TLS_VERSION = "tls-version"
    # The set.
    TLS_ALERT = "tls-alert"
    NOT_AUTHORISED = "not-authorised"
    LOCKED_OUT = "locked-out"
    TLS_CONTEXT = "tls-context"
    # Answers.
    GARBLED = "garbled"
    DENIED = "denied"
    NOT_READY = "account-not-ready"
    REQUEST_REFUSED = "request-refused"
    TOKEN_INVALID = "token-invalid"  # noqa: S105 - the name of a failure
    TOKEN_REFUSED = "token-refused"  # noqa: S105 - the name of a failure
    NOT_FOUND = "missing"
    WRONG_THING = "wrong-thing"
    UNACCEPTABLE = "certificate-unacceptable"
    # This gateway.
    STORE = "store"
    DAMAGED = "damaged"
    MATERIAL = "material"
    KEY_LOST = "key-lost"
    SOURCE_LOST = "source-lost"
    NOTHING_LEFT = "nothing-left"
    NO_SET = "no-set"  # a rung of the ladder on which there is nothing to try
    RECORD_DAMAGED = "record-damaged"
    CRASH_LOOP = "crash-loop"
    DEPENDANT = "dependant"
    UNTRIED = "dependant-untried"
    UNASKED = "gate-unasked"
    NOT_CONFIRMED = "not-confirmed"
    # A person's word.
    GIVEN_UP = "given-up"
    SET_ASIDE = "set-aside"
    HELD = "held"
    VETOED = "vetoed"


@frozen
class Traits:
    """What follows from a code; what is not said does not follow.

    Attributes:
        ambiguous: A refused credential and a broken path share it; a control must decide.
        turned_away: The server was reached and verified, and then turned the set away.
        of_the_path: It kept a connection from being made, so trying again costs nothing and helps once there is a
            network.
        blames_the_clock: A wrong clock makes it of a sound certificate.
        other_anchors: Other trust anchors may verify the server.
        unanswered: The request may have been carried out though no answer came.
        nothing_issued: It is certain that no certificate was issued, or that asking again issues no other one; the
            request does not count against the limit.
        of_the_account: The account's provisioning says so of a request that it let through; nothing has to spread.
        final: Asking again cannot change the answer.
    """

    ambiguous: bool = False
    turned_away: bool = False
    of_the_path: bool = False
    blames_the_clock: bool = False
    other_anchors: bool = False
    unanswered: bool = False
    nothing_issued: bool = False
    of_the_account: bool = False
    final: bool = False


TRAITS: dict[str, Traits] = {
    Code.DNS: Traits(of_the_path=True),
    Code.UNREACHABLE: Traits(of_the_path=True),
    Code.PROXY: Traits(of_the_path=True),
    Code.NOT_TLS: Traits(of_the_path=True),
    Code.TLS_INTERRUPTED: Traits(of_the_path=True),
    Code.TLS_FAILED: Traits(of_the_path=True, ambiguous=True),
    Code.NOT_ASKED: Traits(of_the_path=True),
    Code.ALPN_NEEDED: Traits(of_the_path=True),
    Code.CONNACK_TIMEOUT: Traits(of_the_path=True, ambiguous=True),
    Code.NOT_MQTT: Traits(of_the_path=True, ambiguous=True),
    Code.HUNG_UP: Traits(of_the_path=True, ambiguous=True, turned_away=True),
    Code.DISCONNECTED: Traits(of_the_path=True),
    Code.PATH_LOST: Traits(of_the_path=True),
    Code.LOCKED_OUT: Traits(of_the_path=True),
    Code.TLS_ALERT: Traits(ambiguous=True, turned_away=True),
    Code.NOT_SENT: Traits(ambiguous=True, nothing_issued=True),
    Code.SESSION_LOST: Traits(ambiguous=True, unanswered=True),
    Code.NO_REPLY: Traits(unanswered=True),
    Code.TAKEN_OVER: Traits(unanswered=True),
    Code.TAKEN_OVER_UNSENT: Traits(nothing_issued=True),
    Code.CLOUD_UNAVAILABLE: Traits(unanswered=True),
    Code.GARBLED: Traits(unanswered=True),
    Code.THROTTLED: Traits(nothing_issued=True),
    Code.NOT_AUTHORISED: Traits(nothing_issued=True),
    Code.DENIED: Traits(nothing_issued=True, of_the_account=True),
    Code.NOT_READY: Traits(nothing_issued=True, of_the_account=True),
    Code.VENDING_UNHEARD: Traits(nothing_issued=True),
    Code.TOKEN_REFUSED: Traits(nothing_issued=True, final=True),
    Code.REQUEST_REFUSED: Traits(nothing_issued=True, final=True),
    Code.WRONG_THING: Traits(final=True),
    Code.KEY_LOST: Traits(nothing_issued=True),
    Code.UNTRIED: Traits(final=True),
    Code.UNASKED: Traits(final=True),
    Code.UNKNOWN_ROOT: Traits(other_anchors=True),
    Code.WEAK_CHAIN: Traits(other_anchors=True),
    Code.UNSOUND_CHAIN: Traits(other_anchors=True),
    Code.SERVER_EXPIRED: Traits(blames_the_clock=True, other_anchors=True),
    Code.SERVER_NOT_YET_VALID: Traits(blames_the_clock=True),
}
_NONE = Traits()


def traits(code: str) -> Traits:
    """Return what follows from a code; nothing from one that is not known."""
    return TRAITS.get(code, _NONE)
