"""The failures of the way through a proxy: it is not there, opens no way, or asks who this gateway is.

Each is the network's: nothing of it is said of the endpoint or of a set, which were never reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.failure.codes import Code
from agent.core.failure.failures import MQTT_PORT, in_one_line, network
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.core.failure.failure import Failure


def proxy_not_found(host: str) -> Failure:
    """DNS does not know the proxy."""
    return network(
        Code.DNS,
        f"The name of the proxy, {host}, cannot be resolved.",
        "Check the gateway's DNS and the spelling of `proxy.host`.",
    )


def proxy_unreachable(proxy: str, why: str, *, said: bool = False) -> Failure:
    """There is no TCP connection to the proxy, or none any more once it was `said` where to connect to."""
    does = "did not answer the request for a way out" if said else "does not take connections"
    return network(
        Code.UNREACHABLE,
        f"The proxy {proxy} {does} ({why}).",
        "Check the proxy, the way to it, and `proxy` in the configuration.",
    )


def not_a_proxy(proxy: str, why: str) -> Failure:
    """What answers in the proxy's place does not speak HTTP."""
    return network(
        Code.PROXY,
        f"What answers as the proxy {proxy} is no HTTP proxy ({why or 'its answer is not HTTP'}).",
        "Check `proxy.host` and `proxy.port`.",
    )


def proxy_password(why: str, hint: str) -> Failure:
    """The password for the proxy cannot be read."""
    return network(
        Code.PROXY,
        f"The proxy cannot be asked: {why}.",
        hint or "Put the password into the first line of the file that `proxy.password_file` names.",
    )


@frozen
class Way:
    """A way out that was asked for.

    Attributes:
        proxy: Host and port of the proxy.
        host: The endpoint's.
        port: The endpoint's.
        named: Whether the proxy was given a name and a password.
    """

    proxy: str
    host: str
    port: int
    named: bool = False


PROXY_ASKS = "407"


def proxy_refused(way: Way, status: str, schemes: Sequence[str] = ()) -> Failure:
    """The proxy opens no way to the endpoint.

    Args:
        way: What was asked for.
        status: What it answers: the number and its words, or empty when they are not known.
        schemes: The ways in which it takes a name and a password, as far as it says.
    """
    said = f" ({in_one_line(status)})" if status else ""
    message = f"The proxy {way.proxy} opens no way to {way.host}, port {way.port}{said}."
    remedy = f"Have {way.host} and port {way.port} allowed at the proxy."
    if status.startswith(PROXY_ASKS):
        message, remedy = _proxy_asks(way, said, schemes)
    elif status.startswith("5"):
        remedy = "Check the proxy's own uplink and DNS, and the spelling of `endpoint`."
    elif way.port == MQTT_PORT:
        remedy += " Many proxies let 443 alone through: set `port: 443`."
    return network(Code.PROXY, message, remedy)


def _proxy_asks(way: Way, said: str, schemes: Sequence[str]) -> tuple[str, str]:
    if schemes and all(scheme.lower() != "basic" for scheme in schemes):
        message = f"The proxy {way.proxy} asks for a name and a password by {in_one_line(', '.join(schemes))}{said}."
        return message, "The agent knows Basic alone: have the proxy offer that, or let this gateway through without."
    if way.named:
        message = f"The proxy {way.proxy} does not accept the name and the password that it was given{said}."
        return message, "Check `proxy.user` and the file that `proxy.password_file` names."
    message = f"The proxy {way.proxy} asks for a name and a password{said}."
    return message, "Set `user` and `password_file` below `proxy` in the configuration."
