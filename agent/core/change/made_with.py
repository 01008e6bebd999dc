"""What a set was made with, and what of it is configured otherwise by now: a sentence each.

A set knows what was asked for and not only what came, since an authority may word a subject in its own way: a rotation
that asks again for what the cloud does not give would never end. What was asked for is kept by the keys of the
configuration file. Parameters may be secrets, so of them only a keyed digest is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.core.values import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENROLLMENT = "enrollment."
ALGORITHM, SUBJECT = "key.algorithm", "key.subject"


def kept(configured: Mapping[str, str], kind: Kind) -> dict[str, str]:
    """Return what is kept of it with a set that a change of this kind makes: an enrolment ends with the next one."""
    return {key: value for key, value in configured.items() if kind is Kind.ENROLL or not key.startswith(ENROLLMENT)}


def differences(made: Mapping[str, str], configured: Mapping[str, str]) -> Iterator[str]:
    """Return what is configured otherwise than it was for a set, a sentence each; the unknown is none."""
    for key, value in configured.items():
        before = made.get(key)
        if before is not None and before != value:
            if key.endswith(".parameters"):
                yield f"`{key}` is not what the set in use was registered with."
            else:
                yield f"`{key}` is {value or 'not set'}, and the set in use was made with {before or 'none'}."


def other_thing(configured: str | None, thing: str) -> str:
    """Return that a set is for another thing than the configured one, as a sentence, or nothing."""
    if configured is None or not thing or configured == thing:
        return ""
    return f"`thing_name` is {configured}, and the set in use is for {thing}."


BECOME = (
    "No rotation begins before its certificate is nearly over. Set `thing_name` back, or bring a set for the other "
    "thing with `iot-cert import --thing`."
)
