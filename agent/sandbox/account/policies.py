"""What each role may do: AWS IoT policies, reduced to the actions and variables that the agent meets.

Patterns are as in AWS: ``*`` stands for any characters, ``${iot:ClientId}`` and ``${iot:Connection.Thing.ThingName}``
for the connection's own. A thing name that does not resolve denies. On AWS it resolves for a client id that is the
thing's name, and for every client id of a certificate that is attached to its thing exclusively ("Thing policy
variables" in the developer guide); see `agent.sandbox.account.registry`.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

from agent.core.aws import topics
from agent.core.frozen import frozen

CLIENT_ID = "${iot:ClientId}"
THING_NAME = "${iot:Connection.Thing.ThingName}"


class PolicyAction(StrEnum):
    """What a policy allows or not."""

    CONNECT = "connect"
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"


@frozen
class Policy:
    """What a certificate may do.

    Attributes:
        connect: Client ids.
        publish: Topics to publish to.
        subscribe: Topic filters, and with them the right to receive.
    """

    connect: tuple[str, ...]
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def of(self, action: PolicyAction) -> tuple[str, ...]:
        """Return the patterns of an action."""
        match action:
            case PolicyAction.CONNECT:
                return self.connect
            case PolicyAction.PUBLISH:
                return self.publish
            case PolicyAction.SUBSCRIBE:
                return self.subscribe


def allows(patterns: tuple[str, ...], value: str, *, client_id: str, thing_name: str | None) -> bool:
    """Whether one of the patterns covers `value` on a connection; `thing_name` is None where it does not resolve."""
    return any(_matches(pattern, value, client_id, thing_name) for pattern in patterns)


def _matches(pattern: str, value: str, client_id: str, thing_name: str | None) -> bool:
    if THING_NAME in pattern:
        if thing_name is None:
            return False
        pattern = pattern.replace(THING_NAME, thing_name)
    return _compiled(pattern.replace(CLIENT_ID, client_id)).fullmatch(value) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


CLAIM, GATEWAY = "claim", "gateway"  # the names of the account's own policies


def _answers(*asked: str) -> tuple[str, ...]:
    return tuple(answer for topic in asked for answer in topics.answers(topic))


def claim_policy(template: str) -> Policy:
    """What the shared claim certificate may do: ask for a certificate and register it by one template."""
    asked = (topics.CREATE, topics.provision(template))
    return Policy(connect=("*",), publish=asked, subscribe=_answers(*asked))


def application_policy(name: str) -> Policy:
    """What an application of a gateway may do, with the gateway's certificate: its own topics."""
    own = (f"{name}/{THING_NAME}/*",)
    return Policy(connect=(f"{THING_NAME}-{name}",), publish=own, subscribe=own)


def device_policy(rotation_template: str) -> Policy:
    """What a gateway's own certificate may do: the agent's topics, and its application's."""
    asked = (topics.CREATE, topics.provision(rotation_template))
    shadow = f"$aws/things/{THING_NAME}/shadow/name/certificate/"
    jobs = f"$aws/things/{THING_NAME}/jobs/"
    own = f"iot-cert-agent/{THING_NAME}/"
    application = f"gateways/{THING_NAME}/*"
    both = (shadow + "*", jobs + "*", own + "*", application)
    return Policy(
        connect=(THING_NAME, f"{THING_NAME}-cert-agent"),
        publish=(*asked, *both),
        subscribe=(*_answers(*asked), *both),
    )
