"""How long to wait before a step is tried again.

Exponential, capped, with full jitter (the AWS Architecture Blog's "Exponential Backoff and Jitter"): a fleet
that failed together must not come back together. Chance is an argument; the result is persisted by the caller.
"""

from __future__ import annotations

from agent.core.failure.failure import FailureClass
from agent.core.frozen import frozen


@frozen
class Backoff:
    """Limits of a retry delay.

    Attributes:
        base: Upper bound of the first delay, seconds.
        cap: Upper bound of any delay, seconds.
        floor: Lower bound of any delay, seconds.
    """

    base: float
    cap: float
    floor: float = 1.0  # AWS IoT Core takes one CONNECT a second for a client id

    def delay(self, attempt: int, jitter: float) -> float:
        """Return the delay in seconds before try `attempt` + 1.

        Args:
            attempt: How many tries have failed, from 1.
            jitter: A number in [0, 1), drawn by the caller.
        """
        exponent = min(max(attempt - 1, 0), 32)  # beyond this only the cap counts, and floats stay exact
        return max(self.floor, min(self.cap, self.base * 2.0**exponent) * jitter)


def drawn_from(change: str) -> float:
    """Draw a number in [0, 1) from a change's own random id, so that it need not be stored to stay the same."""
    value = 0
    for byte in change.encode():
        value = (value * 131 + byte) % 65_521
    return value / 65_521


CAP = 240.0  # seconds between two attempts, at most; with the attempt itself that stays within five minutes

# What only the network, the clock, the server or the disk held up goes on within minutes of their being well again.
# What cost the cloud something, or was asked to be patient, waits longer.
BACKOFFS: dict[FailureClass, Backoff] = {
    FailureClass.NETWORK: Backoff(base=4, cap=CAP),
    FailureClass.CLOCK: Backoff(base=10, cap=CAP, floor=5),
    FailureClass.SERVER_TRUST: Backoff(base=30, cap=CAP, floor=5),
    FailureClass.CREDENTIAL: Backoff(base=4, cap=CAP, floor=2),
    FailureClass.POLICY: Backoff(base=15, cap=120, floor=5),
    FailureClass.THROTTLED: Backoff(base=30, cap=3600, floor=10),
    FailureClass.STORE: Backoff(base=30, cap=CAP, floor=10),
    FailureClass.PROTOCOL: Backoff(base=10, cap=600, floor=2),
    FailureClass.DEPENDANT: Backoff(base=4, cap=30, floor=1),
    FailureClass.OPERATOR: Backoff(base=1, cap=1),
}

_UNHURRIED = 7200.0  # seconds

LONGEST_DELAY = max(_UNHURRIED, *(backoff.cap for backoff in BACKOFFS.values()))  # a later instant is disbelieved


def retry_delay(kind: FailureClass, attempt: int, jitter: float) -> float:
    """Return the seconds to wait after the `attempt`-th failure of class `kind`."""
    return BACKOFFS[kind].delay(attempt, jitter)


def unhurried_delay(attempt: int, jitter: float, left: float) -> float:
    """Return the seconds to wait for the network with what costs the cloud something and has time.

    After hours of outage a million gateways ask for their certificates over two hours, which is under the ten
    requests a second that an account is granted. None of them waits for more than a fiftieth of the time that it has.

    Args:
        attempt: How many tries have failed, from 1.
        jitter: A number in [0, 1), drawn by the caller.
        left: Seconds until it has to be done.
    """
    usual = BACKOFFS[FailureClass.NETWORK]
    patient = Backoff(base=usual.base, cap=max(usual.cap, min(_UNHURRIED, left / 50)))
    return patient.delay(attempt, 0.5 + 0.5 * jitter)
