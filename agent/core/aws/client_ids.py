"""MQTT client ids: how they are made and cut to length, and whether they have a part that is the agent's own.

A broker keeps one connection for a client id: the latest, and it ends the one before. Where the agent's id may be an
application's as well, each connection of the agent costs the application its own, and the other way round. The thing's
name alone is what applications connect as.
"""

from __future__ import annotations

import re
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


MAX = 128  # bytes; "AWS IoT Core message broker and protocol limits"
_MARK = 12  # hexadecimal digits: two of a million gateways have the same in one fleet of 560


def made(template: str, thing: str) -> str:
    """Return a thing's client id.

    A thing's name may be as long as a client id may be. What would be too long loses the end of the thing's name, and
    has a checksum of all of it instead: it stays the same for a gateway, and another for another.
    """
    whole = template.replace(THING, thing)
    if len(whole.encode()) <= MAX:
        return whole
    import hashlib  # noqa: PLC0415 - it brings the whole cryptographic library, and names are hardly ever that long

    mark = f"-{hashlib.sha256(whole.encode()).hexdigest()[:_MARK]}"
    before, found, after = template.partition(THING)
    rest = after.replace(THING, "") if found else ""
    room = max(0, MAX - len(mark) - len(rest.encode()))
    start = f"{before}{thing if found else ''}".encode()[:room]
    return start.decode(errors="ignore") + f"{mark}{rest}".encode()[:MAX].decode(errors="ignore")


_MACHINE_ID = re.compile(rb"(?!0{32})[0-9a-f]{32}\s*\Z")  # machine-id(5)


def unnamed(machine_id: bytes, chance: bytes) -> str:
    """Return a client id for a gateway that has no thing yet: one of its own, and stable where the machine has an id.

    An image has none, or says `uninitialized`, until its first start writes one. With a read-only root that is for
    ever, and on each gateway of a fleet: with one client id they would end each other's enrolments.

    Args:
        machine_id: The content of /etc/machine-id; empty where there is none.
        chance: Random bytes, for a machine without one.
    """
    import hashlib  # noqa: PLC0415 - as above

    machine = machine_id if _MACHINE_ID.match(machine_id) else chance
    return "iot-cert-agent-" + hashlib.sha256(b"iot-cert-agent " + machine).hexdigest()[:16]


CUT = (
    "The thing's name leaves no room for `client_id`, of which AWS IoT Core takes 128 bytes, so it was cut: allow "
    "exactly this id in the IoT policy, or set a shorter `client_id`."
)


def plainly_attached(client_id: str, thing: str) -> str:
    """Return what a refusal to connect as `client_id` is likely to come of, as a sentence; empty where it is not.

    Thing policy variables resolve for the client id that is the thing's name, and for any other where the certificate
    is attached exclusively ("Thing policy variables" in the developer guide).
    """
    if not thing or client_id == thing:
        return ""
    return (
        f"A policy with ${{iot:Connection.Thing.ThingName}} takes no other id than {thing}, unless the certificate is "
        "attached exclusively (`ThingPrincipalType: EXCLUSIVE_THING` in both templates)."
    )


_CUT = re.compile(rf"-[0-9a-f]{{{_MARK}}}")


def is_cut(client_id: str) -> bool:
    """Whether a client id is one that `made` had to cut."""
    return len(client_id.encode()) > MAX - 4 and _CUT.search(client_id) is not None  # 4: of a character that was cut


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
