"""What it means that the vending machine sells nothing: it cannot be reached, says no, or says what it should not.

None of it speaks against a set. A certificate is never lost: the same request is sold the same certificate at any time,
so an answer that did not come costs nothing, and asking again is no second certificate. Its statuses stand in
``docs/vending-machine.md``.
"""

from __future__ import annotations

from dataclasses import replace

from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.failure.failures import SERVER_ERRORS, TOO_MANY_REQUESTS, in_one_line, network, throttled
from agent.core.failure.readmission import SERIAL, command, serial_of

REFUSED = 403
_NOT_NOW = frozenset({408, 425})  # RFC 9110 and 8470: a request that was not heard

_CHECK_URL = "Check `enrollment.url`."
_READMIT = (
    "The token is wrong, spent, over or blocked; the log of the account's function says which. A person with access to "
    "the account gets another one with {readmit}; put it into the file of `enrollment.token`."
)
_TRUST = (
    "Set `enrollment.ca` to a file with the authority that its certificate is from, if that is none of the trust "
    "anchors; a TLS-intercepting proxy causes this, too."
)
_OF_THE_PROXY = frozenset({Code.PROXY, Code.DNS, Code.UNREACHABLE})  # where there is one, it alone is looked up
_REMEDIES: dict[str, str] = {
    Code.UNKNOWN_ROOT: _TRUST,
    Code.WRONG_HOST: _CHECK_URL,
    Code.DNS: f"Check the gateway's DNS. {_CHECK_URL}",
    Code.UNREACHABLE: f"Check the uplink and the firewall. {_CHECK_URL}",
    Code.NOT_TLS: f"A captive portal that wants a log-in answers so. {_CHECK_URL}",
    Code.TLS_VERSION: "The agent speaks TLS 1.2 and 1.3; check what the API's domain allows.",
}


def on_the_way(failure: Failure, *, proxied: bool) -> Failure:
    """Return what kept the vending machine from being asked, by what a connection of this kind met.

    Args:
        failure: What it met.
        proxied: Whether there is a proxy in between, whose failures have remedies of their own.
    """
    known = {} if proxied and failure.code in _OF_THE_PROXY else _REMEDIES
    message = f"The vending machine cannot be asked. {failure.message}"
    return replace(failure, message=message, remedy=known.get(failure.code, failure.remedy))


def unheard(why: str) -> Failure:
    """It was asked, or was to be, and there is no answer."""
    return network(
        Code.VENDING_UNHEARD,
        f"The vending machine did not answer ({in_one_line(why)}).",
        promise="The agent asks again; the same request is sold the same certificate.",
    )


def declined(status: int, message: str, serial: str, *, its_own: bool) -> Failure:
    """It answers with another status than 200.

    Args:
        status: The status.
        message: What it says besides.
        serial: The serial number that it was shown.
        its_own: Whether its function says so, and not what stands in front of it.
    """
    said = f"({status}): {in_one_line(message)}."
    if status >= SERVER_ERRORS or status in _NOT_NOW:
        return unheard(f"status {status}")
    if status == TOO_MANY_REQUESTS:
        text = f"The vending machine was asked too often {said}"
        return throttled(text, "Gateways behind one address share its limit.")
    if status == REFUSED and its_own:
        return Failure(
            kind=FailureClass.PROTOCOL,
            code=Code.TOKEN_REFUSED,
            message=f"The vending machine refuses this gateway's serial number and token {said}",
            remedy=_READMIT.format(readmit=command(serial_of({SERIAL: serial}))),
        )
    front = "The request cannot be used." if its_own else "What answers is not the vending machine's function."
    return Failure(
        kind=FailureClass.PROTOCOL,
        code=Code.REQUEST_REFUSED,
        message=f"The vending machine sold nothing {said}",
        remedy=f"{front} Check `enrollment.url`, `enrollment.parameters.SerialNumber` and `key.algorithm`.",
    )
