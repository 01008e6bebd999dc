"""What the doctor says of the broker: whether it accepts the current set, and what the certificate's policy lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.aws import topics
from agent.core.change.ladder import OTHER_ANCHORS, Rung
from agent.core.exit_codes import Exit
from agent.core.failure.codes import Code, traits
from agent.core.failure.failure import FailureClass
from agent.core.frozen import frozen
from agent.core.report.checks import NETWORK, Line, failure, ok, skipped, warning
from agent.core.text import sentence_of

if TYPE_CHECKING:
    from agent.core.change.ladder import Climb
    from agent.core.failure.failure import Failure


@frozen
class Examination:
    """What became of connecting and asking with the current set.

    Attributes:
        thing: The thing's name.
        client_id: The client id that was used.
        connected: Why there is no connection, or None.
        asked: Why the request was not answered, or None.
        denied: Topics that may not be subscribed to.
        climb: What the ladder found after the current set was turned away, or accepted under a distrusted root, or
            None.
    """

    thing: str
    client_id: str
    connected: Failure | None = None
    asked: Failure | None = None
    denied: tuple[str, ...] = ()
    climb: Climb | None = None


def of_connection(found: Examination) -> Line:
    """Judge the connection with the current set."""
    refusal = found.connected
    if refusal is None and found.climb is not None and found.climb.use in OTHER_ANCHORS:
        text = f"The broker accepts the current set, but {found.climb.why}."
        return warning(
            "connect", "distrusted-root", text, f"A running daemon puts the {found.climb.use} in use by itself."
        )
    if refusal is None:
        return ok("connect", f"The broker accepts the current set as {found.client_id}.")
    if found.climb is not None and found.climb.use is Rung.TECHNICIAN:
        text = f"{sentence_of(found.climb.why)}."
        return failure("connect", Code.LOCKED_OUT, text, found.climb.remedy, Exit.CRITICAL)
    if refusal.kind is FailureClass.POLICY:
        remedy = f"Allow it: {statement('iot:Connect', f'client/{found.client_id}')}"
        return failure("connect", "connect-denied", refusal.message, remedy)
    if traits(refusal.code).turned_away:
        text = "The broker hangs up on this certificate, as AWS IoT Core does when one is unknown or not active."
        remedy = "Look it up by the id that `iot-cert status` shows."
        if found.climb is not None and found.climb.use is not None:
            remedy = f"`iot-cert rotate` leads out: {found.climb.why}. A running daemon does so by itself."
        return failure("connect", "certificate-refused", text, remedy)
    return failure("connect", refusal.code, refusal.message, refusal.remedy, NETWORK)


def of_rival(rival: str) -> tuple[Line, Line]:
    """Return the lines of a connection that is not made, since it would cost another client its own.

    Args:
        rival: What speaks for another client, as a sentence.
    """
    text = f"{rival} No connection was made to look further: it would end the other client's."
    remedy = (
        "Give the agent a `client_id` of its own, or take the other client off this one; a copy of this gateway's disk "
        "has to enrol anew. If there is no other, stop the daemon and run this again: then it connects."
    )
    return (
        failure("connect", "taken-over", text, remedy),
        skipped("permissions", "another client uses the agent's client id"),
    )


def of_permissions(found: Examination) -> Line:
    """Judge what the current certificate's policy lets it do, and say what to add."""
    asking = topics.shadow_get(found.thing)
    needed = [("iot:Subscribe", f"topicfilter/{topic}") for topic in found.denied]
    refused = found.asked is not None and found.asked.kind is FailureClass.POLICY
    if refused and not set(topics.answers(asking)) & set(found.denied):  # else it was never published
        needed.insert(0, ("iot:Publish", f"topic/{asking}"))
    if needed:
        first = f"{needed[0][0]} on {needed[0][1]}"
        more = f" and {len(needed) - 1} more" if len(needed) > 1 else ""
        text = f"The policy lacks {first}{more}."
        return failure("permissions", "permission-missing", text, "Add: " + " ".join(statement(*n) for n in needed))
    if found.asked is not None:
        return failure("permissions", found.asked.code, found.asked.message, found.asked.remedy, NETWORK)
    return ok("permissions", "The policy allows every topic that answers come on; publishing is only seen when used.")


def statement(action: str, resource: str) -> str:
    """Return the policy statement that allows an action; region and account are the reader's."""
    return f'{{"Effect":"Allow","Action":"{action}","Resource":"arn:aws:iot:REGION:ACCOUNT:{resource}"}}'
