"""Whether an MQTT client id has a part that is the agent's own.

A broker keeps one connection for a client id: the latest, and it ends the one before. Where the agent's id may be an
application's as well, each connection of the agent costs the application its own, and the other way round. The thing's
name alone is what applications connect as.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

THING = "{thing}"
LEAST = 2  # letters or digits besides the thing's name; a lone hyphen or number is what applications have, too

REMEDY = (
    "Give the agent one of its own, such as {thing}-cert-agent. A policy that wants the thing's name as the client id "
    "(${iot:Connection.Thing.ThingName} with a plain attachment) takes any id once the certificate is attached "
    "exclusively (ThingPrincipalType EXCLUSIVE_THING); else keep every application off this id."
)


def is_own(template: str, thing: str = "") -> bool:
    """Whether a client id has enough besides the thing's name to be no application's.

    Args:
        template: The client id, in which ``{thing}`` stands for the thing's name.
        thing: The thing's name, which may be spelt out in a client id without ``{thing}``; empty when it is not known.
    """
    named = THING if THING in template else thing
    rest = template.replace(named, "") if named else template
    return sum(char.isalnum() for char in rest) >= LEAST


def concerns(configured: str, enrolment: str | None, thing: str = "") -> Iterator[str]:
    """Yield what is to be said against the configured client ids, a sentence each; see `REMEDY`.

    Args:
        configured: What the configuration has as `client_id`.
        enrolment: What it has as `enrollment.client_id`, or None.
        thing: The thing's name, or empty.
    """
    if not is_own(configured, thing):
        yield (
            f"`client_id: {configured}` has no part of the agent's own: an application that connects with the same id "
            "is cut off by each connection of the agent, and cuts the agent off."
        )
    if enrolment is not None and not is_own(enrolment, thing):
        yield (
            f"`enrollment.client_id: {enrolment}` has no part of the agent's own: an application that connects with "
            "the same id is cut off when this gateway enrols."
        )
