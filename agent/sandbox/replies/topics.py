"""Which of the cloud's services a topic belongs to.

The cloud answers requests below `$aws/`, and `iot-cert-agent/<thing>/retire`, where an account would have a rule of its
own. All other topics are the broker's.
"""

from __future__ import annotations

from enum import Enum, auto

from agent.core.aws import topics
from agent.core.frozen import frozen
from agent.sandbox.replies.faults import Operation

CREATE_TOPIC = topics.CREATE


class Service(Enum):
    """Who answers, and so in which words; see `agent.sandbox.replies.answers`."""

    PROVISIONING = auto()
    SHADOWS = auto()
    JOBS = auto()
    RETIREMENT = auto()


@frozen
class Route:
    """What a topic asks for.

    Attributes:
        service: Who answers.
        operation: Where faults strike, or None when no service knows the topic.
        thing: The thing in the topic, if there is one.
        rest: What the service needs besides: a template; a shadow and a verb; what follows `jobs/`.
    """

    service: Service
    operation: Operation | None
    thing: str = ""
    rest: tuple[str, ...] = ()


def route(topic: str) -> Route:
    """Return what a topic asks for."""
    match topic.split("/"):
        case _ if topic == CREATE_TOPIC:
            return Route(service=Service.PROVISIONING, operation=Operation.CREATE)
        case ["$aws", "provisioning-templates", template, *_]:
            return Route(service=Service.PROVISIONING, operation=Operation.REGISTER, rest=(template,))
        case ["$aws", "things", thing, "shadow", "name", name, ("get" | "update" | "delete") as verb]:
            operation = Operation.ASK if verb == "get" else Operation.SHADOW
            return Route(service=Service.SHADOWS, operation=operation, thing=thing, rest=(name, verb))
        case ["$aws", "things", thing, "jobs", *rest]:
            return Route(service=Service.JOBS, operation=Operation.JOBS, thing=thing, rest=tuple(rest))
        case ["iot-cert-agent", thing, "retire"]:
            return Route(service=Service.RETIREMENT, operation=Operation.RETIRE, thing=thing)
        case _:
            return Route(service=Service.PROVISIONING, operation=None)


def is_ours(topic: str) -> bool:
    """Whether the cloud answers this topic itself; all others are the broker's."""
    return topic.startswith("$aws/") or route(topic).service is Service.RETIREMENT
