"""When the daemon's session is there: always, or for a look now and then.

Rules:

* A look begins at the latest `every` after the one before ended. Up to a quarter of that is chance, and drawn anew each
  time: a fleet that came back together is apart after a few looks.
* A look goes on while there is something to stay for, and `lasts` longer: a change in flight, above all one in
  probation, is watched as closely as by a session that is always there.
* A look that finds no connection is not over. It is tried again as any session is, until there was one.
* What is due sooner ends the rest: a change that was begun, another set in use, a person who asks for something.
"""

from __future__ import annotations

from datetime import timedelta

from agent.core.frozen import frozen


@frozen
class Looks:
    """How often there is a session, and for how long.

    Attributes:
        every: From the end of one look to the beginning of the next, at most.
        lasts: How long a look lasts, at least.
    """

    every: timedelta = timedelta(hours=6)
    lasts: timedelta = timedelta(minutes=1)


def stay(looks: Looks, idle: float) -> float:
    """Return the seconds for which a session is to go on; 0 where its look is over.

    Args:
        looks: When there is a session.
        idle: For how long it has been up with nothing to stay for, in seconds.
    """
    return max(0.0, looks.lasts.total_seconds() - idle)


def rest(looks: Looks, chance: float) -> float:
    """Return the seconds from the end of a look to the next one.

    Args:
        looks: When there is a session.
        chance: A number in [0, 1).
    """
    return looks.every.total_seconds() * (0.75 + 0.25 * min(max(chance, 0.0), 1.0))


def wakes(looks: Looks | None, rested: float, *, needed: bool) -> bool:
    """Whether a session that rests is to be made now.

    Args:
        looks: When there is a session; None for always.
        rested: For how long it has rested, in seconds, with those in which the machine was suspended.
        needed: Whether there is something to connect for.
    """
    return needed or looks is None or rested >= looks.every.total_seconds()
