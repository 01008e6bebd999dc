"""The failures of the cloud by name: one constructor each, so that class, code and sentence are the same everywhere.

The adapters meet these on the wire, the simulator makes them up; the machine cannot tell the difference.
"""

from __future__ import annotations

from dataclasses import replace

from agent.core.failure.codes import Code
from agent.core.failure.failure import RETRIES, Failure, FailureClass
from agent.core.text import printable

TOO_MANY_REQUESTS = 429
UNAUTHORISED = frozenset({401, 403})
NOT_FOUND = 404
SERVER_ERRORS = 500

ASKS_AGAIN = "The agent asks again over a new connection."

MAX_QUOTED = 200  # characters of a service's own message that are repeated


def network(code: Code, message: str, remedy: str = "", *, promise: str = RETRIES) -> Failure:
    """Return a failure of the way to the cloud, after which the agent tries again by itself."""
    return Failure(kind=FailureClass.NETWORK, code=code, message=message, remedy=remedy, promise=promise)


def throttled(message: str, remedy: str) -> Failure:
    """Return that the cloud has no room for this gateway now, which the agent waits for."""
    kind, code = FailureClass.THROTTLED, Code.THROTTLED
    return Failure(kind=kind, code=code, message=message, remedy=remedy, promise="The agent waits and retries.")


def name_not_found(host: str) -> Failure:
    """DNS does not know the endpoint."""
    return network(
        Code.DNS, f"The name {host} cannot be resolved.", "Check the gateway's DNS and the spelling of `endpoint`."
    )


def no_endpoint(why: str, remedy: str) -> Failure:
    """None was put into the configuration yet: DNS is not to blame that it knows no such name."""
    return network(Code.DNS, why, remedy)


def unreachable(host: str, port: int, why: str) -> Failure:
    """There is no TCP connection."""
    hint = " If 8883 is blocked here, set `port: 443`." if port == MQTT_PORT else ""
    remedy = _UNREACHABLE.get(why, "Check the uplink and the firewall.")
    text = f"{host} does not take connections on port {port} ({why})."
    return network(Code.UNREACHABLE, text, f"{remedy}{hint}")


# What to do about it, by what the system says.
_UNREACHABLE = {
    "Connection refused": "A firewall refuses it, or another machine than is meant: check `endpoint` and `port`.",
    "no answer in time": "Check the uplink, and whether a firewall drops what goes to this port.",
}


def no_threads(why: str) -> Failure:
    """This machine has no threads, memory or descriptors left for a connection, which says nothing against the set."""
    remedy = "End processes that are not needed, or raise `ulimit -u` and `ulimit -n`, or TasksMax= of the unit."
    return network(Code.UNREACHABLE, f"No connection can be begun on this machine ({why.rstrip('.')}).", remedy)


MQTT_PORT = 8883


def tls_interrupted(host: str, why: str) -> Failure:
    """The connection broke before the server had shown who it is."""
    return network(
        Code.TLS_INTERRUPTED,
        f"The TLS handshake with {host} was cut off ({why}).",
        "A firewall or proxy in between may be the cause.",
    )


def not_tls(host: str, port: int, what: str) -> Failure:
    """What answers speaks another protocol; `what` says which, as far as that can be told."""
    return network(
        Code.NOT_TLS,
        f"What answers as {host} on port {port} does not speak TLS but {what}.",
        "Check `port`; a captive portal that wants a log-in answers so, too.",
    )


def tls_ended(host: str, why: str, remedy: str) -> Failure:
    """The server ended the handshake and said why, before it had shown who it is."""
    return network(Code.TLS_INTERRUPTED, f"The server at {host} ended the TLS handshake: {why}.", remedy)


def tls_failed(host: str, why: str) -> Failure:
    """A handshake failed in which the server was not verified before; the SDK does not say on which side."""
    return network(
        Code.TLS_FAILED,
        f"The TLS handshake with {host} failed ({why}); it is not known yet on which side.",
        "`iot-cert check` looks at the server at once.",
        promise="The agent looks at the server next.",
    )


def not_asked(host: str, port: int) -> Failure:
    """The server is who it should be, and turned a client away whose certificate it never asked for."""
    return network(
        Code.NOT_ASKED,
        f"The server at {host}, port {port}, asks for no client certificate, so it cannot know this gateway.",
        "Check `endpoint`, `port` and `alpn`: this is not where AWS IoT Core takes device certificates.",
    )


def alpn_needed(host: str, port: int) -> Failure:
    """The server turned a set away that it takes once MQTT is asked for by ALPN."""
    return network(
        Code.ALPN_NEEDED,
        f"The server at {host} hangs up on port {port}, where it takes the same certificate with ALPN.",
        "Set `alpn: true`; nothing is wrong with the certificate.",
    )


_OF_THE_CLOCK = frozenset({Code.SERVER_EXPIRED, Code.SERVER_NOT_YET_VALID})


def server_certificate(host: str, code: Code, why: str, unserving: str = "") -> Failure:
    """The server's certificate does not verify; `code` names the reason.

    `unserving` is a sentence about the anchor that its chain ends in, where that is the reason.
    """
    remedies = {
        Code.UNKNOWN_ROOT: "Check `iot-cert status` for the anchors in use; "
        "an endpoint that is not the account's ATS endpoint, or a TLS-intercepting proxy causes this.",
        Code.WEAK_CHAIN: "The endpoint's owner must have stronger certificates issued: RSA of 2048 bits, SHA-256.",
        Code.UNSOUND_CHAIN: "The endpoint's owner must have the server's certificates issued anew.",
        Code.WRONG_HOST: "Check the spelling of `endpoint`.",
        Code.SERVER_EXPIRED: "Check the gateway's clock; if it is right, the endpoint's owner must act.",
        Code.SERVER_NOT_YET_VALID: "Check the gateway's clock; if it is right, the endpoint's owner must act.",
    }
    remedy = remedies.get(code, "The agent never connects unverified.")
    if unserving:
        why = f"its chain ends in an anchor that cannot be used; {unserving.rstrip('.')}"
        remedy = f"{remedy.partition('; ')[0]}; if it is right, bring" if code in _OF_THE_CLOCK else "Bring"
        remedy = f"{remedy} another: `iot-cert trust install`, `iot-cert trust restore` or `iot-cert import`."
    return Failure(
        kind=FailureClass.SERVER_TRUST,
        code=code,
        message=f"The server at {host} is not trusted: {why}.",
        remedy=remedy,
        promise=RETRIES,
    )


def tls_version(host: str, why: str) -> Failure:
    """No TLS version or cipher in common."""
    return Failure(
        kind=FailureClass.SERVER_TRUST,
        code=Code.TLS_VERSION,
        message=f"{host} and this gateway have no TLS version or cipher in common ({why}).",
        remedy="The agent speaks TLS 1.2 and 1.3; check the endpoint's security policy.",
    )


def certificate_alert(why: str) -> Failure:
    """The server refused the client certificate with a TLS alert, which a proxy may send as well."""
    return Failure(
        kind=FailureClass.CREDENTIAL,
        code=Code.TLS_ALERT,
        message=f"The TLS handshake ended with an alert after the server had been verified ({why}).",
        remedy="The certificate may be unknown, inactive or expired at the broker.",
    )


def hung_up() -> Failure:
    """The connection was closed before the broker answered."""
    return network(
        Code.HUNG_UP,
        "The broker hung up without an answer.",
        "AWS IoT Core does so when a certificate is inactive or unknown; a bad path does so too.",
        promise="",
    )


def silent() -> Failure:
    """The broker took the connection and never answered."""
    return network(
        Code.CONNACK_TIMEOUT,
        "The broker did not answer the MQTT connect in time.",
        "If it lasts, a firewall or proxy in between may be the cause.",
    )


def not_mqtt(host: str, port: int, why: str) -> Failure:
    """A server that was verified took the connection and answered with what MQTT does not have there."""
    return network(
        Code.NOT_MQTT,
        f"What answers as {host} on port {port} broke the rules of MQTT when it was to take the connection ({why}).",
        "Check `endpoint`, `port` and `alpn`; if they are right, the endpoint's owner must act.",
    )


def not_authorised(what: str, why: str = "") -> Failure:
    """The broker says that the policy does not allow it; `why` is a sentence about a likely reason."""
    return Failure(
        kind=FailureClass.POLICY,
        code=Code.NOT_AUTHORISED,
        message=f"The broker does not authorise this certificate to {what}. {why}".rstrip(),
        remedy="Check the IoT policy attached to the certificate; a new policy takes minutes to spread.",
    )


def connect_throttled(why: str) -> Failure:
    """The broker is too busy for this client."""
    return throttled(
        f"The broker has no room for this connection now ({why}).", "If it lasts, look at the account's limits."
    )


def broker_unavailable(why: str) -> Failure:
    """The broker answers, but with a refusal that is none of the certificate."""
    return network(
        Code.CLOUD_UNAVAILABLE,
        f"The broker cannot serve this connection now ({why}).",
        _MEANING.get(why, "If it lasts, look at the AWS Health Dashboard."),
    )


_ELSEWHERE = "The endpoint has moved: ask for it with `aws iot describe-endpoint --endpoint-type iot:Data-ATS`."
_MISUSE = "The agent and this broker do not understand each other: check `endpoint`; if it is right, report this."
# What follows from a reason of MQTT 5 (section 2.4) for the person who must act, where the agent cannot help itself.
_MEANING = {
    "USE_ANOTHER_SERVER": _ELSEWHERE,
    "SERVER_MOVED": _ELSEWHERE,
    "NOT_AUTHORIZED": "Check the IoT policy attached to the certificate, and whether the certificate is active.",
    "ADMINISTRATIVE_ACTION": "A person with access to the account, or AWS itself, did so.",
    "KEEP_ALIVE_TIMEOUT": "The broker heard nothing for too long: check the uplink.",
    "UNSUPPORTED_PROTOCOL_VERSION": "The agent speaks MQTT 5, which this broker does not take: check `endpoint`.",
    "BAD_AUTHENTICATION_METHOD": "The endpoint wants another authentication than a certificate: check its settings.",
    **dict.fromkeys(
        ("MALFORMED_PACKET", "PROTOCOL_ERROR", "TOPIC_FILTER_INVALID", "TOPIC_NAME_INVALID", "PACKET_TOO_LARGE",
         "RECEIVE_MAXIMUM_EXCEEDED", "TOPIC_ALIAS_INVALID", "PAYLOAD_FORMAT_INVALID", "RETAIN_NOT_SUPPORTED",
         "QOS_NOT_SUPPORTED", "SHARED_SUBSCRIPTIONS_NOT_SUPPORTED", "SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED",
         "WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED"), _MISUSE),
}  # fmt: skip
_NO_ROOM = frozenset({"QUOTA_EXCEEDED", "SERVER_BUSY", "CONNECTION_RATE_EXCEEDED", "MESSAGE_RATE_TOO_HIGH"})


def session_lost(why: str) -> Failure:
    """The session broke while a request was under way."""
    return network(Code.SESSION_LOST, f"The connection broke while an answer was awaited ({why}).", promise=ASKS_AGAIN)


def path_lost(why: str) -> Failure:
    """A connection cannot go on although the broker has not ended it; `why` is a sentence."""
    return network(Code.PATH_LOST, why, "Look at this machine's network: an interface, a lease, a modem, a cable.")


def lost(reason: str, text: str = "") -> Failure:
    """The connection ended by itself; a hang-up without a reason may be a refused certificate.

    Args:
        reason: The name of the reason that the broker gives, as MQTT 5 has them; empty without one.
        text: What it says besides.
    """
    if not reason:
        return hung_up()
    kind = FailureClass.THROTTLED if reason in _NO_ROOM else FailureClass.NETWORK
    return Failure(
        kind=FailureClass.POLICY if reason == "NOT_AUTHORIZED" else kind,
        code=Code.DISCONNECTED,
        message=f"The broker ended the connection ({reason}{f': {in_one_line(text)}' if text else ''}).",
        remedy=_MEANING.get(reason, ""),
        promise="The agent connects again.",
    )


def cut_off(request: Failure, ending: Failure) -> Failure:
    """A request was cut off by a broker that says why: its words, and what the request's own failure means for it."""
    message = f"{request.message} {ending.message}"
    return replace(request, kind=ending.kind, message=message, remedy=ending.remedy, promise=ending.promise)


def not_sent(why: str) -> Failure:
    """The session broke before the request had left."""
    return network(Code.NOT_SENT, f"The connection broke before the request had left ({why}).", promise=ASKS_AGAIN)


def taken_over(client_id: str, *, sent: bool = True) -> Failure:
    """Another client with the same id came while a request was under way, which says nothing against the set."""
    return network(
        Code.TAKEN_OVER if sent else Code.TAKEN_OVER_UNSENT,
        f"Another client connected as {client_id} and ended this connection.",
        "Every client needs an id of its own: see `client_id` in the configuration.",
    )


def no_reply(operation: str) -> Failure:
    """A request was not answered in time, so it is not known whether it was carried out."""
    return network(
        Code.NO_REPLY,
        f"{operation} was not answered in time.",
        promise="A late answer would be taken for the next one's, so the agent asks again over a new connection.",
    )


def garbled(operation: str, why: str) -> Failure:
    """The reply is not what the service's API says."""
    return Failure(
        kind=FailureClass.PROTOCOL,
        code=Code.GARBLED,
        message=f"The reply to {operation} cannot be read: {why}.",
        remedy="It was not used.",
        promise=ASKS_AGAIN,
    )


def refused(operation: str, status: int, code: str, text: str) -> Failure:
    """The service answered with a refusal; its status decides the class."""
    quoted = in_one_line(text)
    if status == TOO_MANY_REQUESTS:
        return throttled(f"{operation} was throttled: {quoted}.", "The account's quota is used up for now.")
    if status in UNAUTHORISED:
        return Failure(
            kind=FailureClass.POLICY,
            code=Code.DENIED,
            message=f"{operation} was denied ({status} {in_one_line(code)}): {quoted}.",
            remedy="Check the template's provisioning hook and the IoT policy.",
        )
    if status >= SERVER_ERRORS:
        return network(
            Code.CLOUD_UNAVAILABLE,
            f"{operation} failed in the cloud ({status} {in_one_line(code)}): {quoted}.",
            "If it lasts, look at the AWS Health Dashboard.",
        )
    token = code == "InvalidCertificateOwnershipToken"
    return Failure(
        kind=FailureClass.PROTOCOL,
        code=Code.TOKEN_INVALID if token else Code.REQUEST_REFUSED,
        message=f"{operation} was refused ({status} {in_one_line(code)}): {quoted}.",
        remedy="" if token else "Check the template's name and parameters, and the key algorithm.",
    )


_SERVICE_STATUS = {"RequestThrottled": TOO_MANY_REQUESTS, "InternalError": SERVER_ERRORS}


def declined(operation: str, code: object, text: str) -> Failure:
    """A request to jobs, shadows or for retirement was rejected; shadows give a number, jobs a name."""
    status = code if isinstance(code, int) and not isinstance(code, bool) else _SERVICE_STATUS.get(str(code), 400)
    failure = refused(operation, status, code[:64] if isinstance(code, str) else "", text)
    if failure.code != Code.REQUEST_REFUSED:
        return failure
    return replace(failure, remedy="", code=Code.NOT_FOUND if status == NOT_FOUND else Code.REQUEST_REFUSED)


def in_one_line(text: str) -> str:
    """Return a remote text fit for a terminal and a log: bounded, printable, on one line."""
    return printable(text, MAX_QUOTED).strip().rstrip(".") or "no reason given"
