"""What can be made to go wrong in the sandbox, switched while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from threading import RLock


class Operation(StrEnum):
    """Where a fault strikes. ASK is the request for a shadow, SHADOW its update or deletion."""

    CONNECT = "connect"
    CREATE = "create"
    REGISTER = "register"
    ASK = "ask"
    RETIRE = "retire"
    JOBS = "jobs"
    SHADOW = "shadow"
    VEND = "vend"


class Effect(StrEnum):
    """What happens instead of the ordinary answer."""

    LOSE = "lose"  # the request is carried out and the reply is lost
    IGNORE = "ignore"  # the request never arrives
    LATE = "late"  # the reply is held back until the next request on the same connection
    DUPLICATE = "duplicate"  # the reply comes twice
    REJECT = "reject"  # refused for good: 400
    DENY = "deny"  # refused: 403 ACCESS_DENIED, as by a pre-provisioning hook
    THROTTLE = "throttle"  # 429, or quota exceeded at connect
    UNAVAILABLE = "unavailable"  # 500, or server unavailable at connect
    GARBLE = "garble"  # no JSON
    OVERSIZE = "oversize"  # a reply beyond every limit
    HOSTILE = "hostile"  # the reply is `payload`, to the byte
    WRONG_KEY = "wrong-key"  # a certificate for another key
    EXPIRED = "expired"  # a certificate that has ended
    NOT_YET_VALID = "not-yet-valid"  # a certificate that begins tomorrow
    NO_TOKEN = "no-token"  # the ownership token is missing  # noqa: S105 - the name of a fault
    EXTRA_FIELDS = "extra-fields"  # unknown fields, which must be accepted
    NEVER_ACTIVE = "never-active"  # registration is confirmed but the certificate stays inactive
    REVOKE = "revoke"  # registration is confirmed and the certificate is revoked at its second connection
    WRONG_THING = "wrong-thing"  # registration for another thing
    HANG_UP = "hang-up"  # the connection is cut without a word
    UNAUTHORISED = "unauthorised"  # the policy does not allow it
    SILENCE = "silence"  # the connection stays open and nothing comes


_OF_A_REQUEST = (
    Effect.LOSE,
    Effect.IGNORE,
    Effect.LATE,
    Effect.DUPLICATE,
    Effect.REJECT,
    Effect.DENY,
    Effect.THROTTLE,
    Effect.UNAVAILABLE,
    Effect.GARBLE,
    Effect.OVERSIZE,
    Effect.HOSTILE,
    Effect.HANG_UP,
    Effect.UNAUTHORISED,
    Effect.SILENCE,
)
_OF_A_CERTIFICATE = (Effect.WRONG_KEY, Effect.EXPIRED, Effect.NOT_YET_VALID, Effect.NO_TOKEN, Effect.EXTRA_FIELDS)

# What can happen to each operation; any other effect would change nothing.
EFFECTS: dict[Operation, tuple[Effect, ...]] = {
    Operation.CONNECT: (
        Effect.THROTTLE,
        Effect.UNAVAILABLE,
        Effect.HOSTILE,
        Effect.HANG_UP,
        Effect.UNAUTHORISED,
        Effect.SILENCE,
    ),
    Operation.CREATE: (*_OF_A_REQUEST, *_OF_A_CERTIFICATE),
    Operation.REGISTER: (*_OF_A_REQUEST, Effect.NEVER_ACTIVE, Effect.REVOKE, Effect.WRONG_THING),
    Operation.ASK: _OF_A_REQUEST,
    Operation.RETIRE: _OF_A_REQUEST,
    Operation.JOBS: _OF_A_REQUEST,
    Operation.SHADOW: _OF_A_REQUEST,
    Operation.VEND: (
        Effect.LOSE,
        Effect.IGNORE,
        Effect.DENY,
        Effect.THROTTLE,
        Effect.UNAVAILABLE,
        Effect.GARBLE,
        Effect.OVERSIZE,
        Effect.HOSTILE,
        Effect.HANG_UP,
    ),
}

TOKEN_MARK = b"%clientToken%"


@dataclass(kw_only=True)
class Fault:
    """One fault.

    Attributes:
        operation: Where it strikes.
        effect: What happens.
        times: How often, or None until it is cleared.
        payload: The reply of a HOSTILE fault; in it `TOKEN_MARK` stands for the request's `clientToken`, without which
            a client takes no answer for its own.
    """

    operation: Operation
    effect: Effect
    times: int | None = 1
    payload: bytes = b""


class Faults:
    """The faults in force, in the order they were added; any thread may use them."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = RLock()

    def add(self, fault: Fault) -> None:
        """Let a fault strike from now on."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Let everything work again."""
        with self._lock:
            self._faults.clear()

    def strike(self, operation: Operation) -> Fault | None:
        """Return the fault that strikes this operation now, and count it."""
        with self._lock:
            fault = next((fault for fault in self._faults if fault.operation is operation), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
            return fault
