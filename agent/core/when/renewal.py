"""When to rotate: the renewal window of a certificate, this device's place in it, and the emergency window.

The window opens at a fraction of the lifetime, at a time before expiry, or at a maximum age, whichever comes first.
Certificates that AWS IoT Core issues itself run to 2049 ("X.509 client certificates", developer guide), so there
the maximum age decides; with a certificate provider's short-lived ones the fraction does.

What the window spreads is small against the lifetime: a certificate of a day has more than half of it left at every
turn, so that an outage of half a day costs no gateway its way in (docs/short-lives.md). Tools for short lives do the
same: step-cli draws from a twentieth of the lifetime ("step ca renew", `--daemon`), the kubelet from a fifth.

The place in the window is fixed per device and certificate (`splay`), as with systemd's `FixedRandomDelay=`: the same
after a reboot, spread evenly over a fleet. Drawing again at each check would move every device to the window's start.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from agent.core.frozen import frozen

SPREAD = 1 / 8  # the longest window, as a part of the lifetime


@frozen
class RenewalPolicy:
    """What the operator wants.

    Attributes:
        lifetime_fraction: Open the window after this part of the lifetime, in (0, 1).
        before_expiry: Open it at the latest this long before expiry.
        max_age: Open it at the latest this long after the certificate's start.
        window: How long it stays open, at most; never longer than `SPREAD` of the lifetime.
        emergency_fraction: The last part of the lifetime, in which nothing waits.
    """

    lifetime_fraction: float = 2 / 3
    before_expiry: timedelta = timedelta(days=30)
    max_age: timedelta = timedelta(days=365)
    window: timedelta = timedelta(days=30)
    emergency_fraction: float = 0.05


@frozen
class RenewalWindow:
    """When a certificate is rotated: ``not_before <= opens_at <= closes_at <= emergency_at <= not_after``.

    Attributes:
        opens_at: The first instant at which some device of the fleet rotates.
        closes_at: The last one.
        emergency_at: From here on nothing waits: no maintenance window, no splay.
        not_after: The end of the certificate.
    """

    opens_at: datetime
    closes_at: datetime
    emergency_at: datetime
    not_after: datetime

    def renew_at(self, splay: float) -> datetime:
        """Return the instant for a device whose place in the window is `splay`, in [0, 1)."""
        return self.opens_at + (self.closes_at - self.opens_at) * splay


def renewal_window(not_before: datetime, not_after: datetime, policy: RenewalPolicy) -> RenewalWindow:
    """Return the renewal window of a certificate that is valid from `not_before` to `not_after`."""
    lifetime = max(not_after - not_before, timedelta())
    end = not_before + lifetime
    emergency_at = end - lifetime * policy.emergency_fraction
    opens_at = min(
        not_before + lifetime * policy.lifetime_fraction,
        _earlier(end, policy.before_expiry, not_before),
        not_before + min(policy.max_age, lifetime),
    )
    # A certificate shorter than `before_expiry` would otherwise be due from the start.
    opens_at = max(opens_at, not_before + min(lifetime * policy.lifetime_fraction, policy.max_age) / 2)
    opens_at = min(opens_at, emergency_at)
    # Half of what is left before the emergency window belongs to retries, not to the spread.
    closes_at = opens_at + min(policy.window, lifetime * SPREAD, (emergency_at - opens_at) / 2)
    return RenewalWindow(opens_at=opens_at, closes_at=closes_at, emergency_at=emergency_at, not_after=end)


def _earlier(end: datetime, span: timedelta, floor: datetime) -> datetime:
    """Return `end` - `span`, but never before `floor` (nor before the calendar begins)."""
    return floor if span >= end - floor else end - span


def splay(thing_name: str, certificate_id: str) -> float:
    """Return this device's fixed place in the renewal window of this certificate, in [0, 1)."""
    import hashlib  # noqa: PLC0415 - both bring the whole cryptographic library, which an idle daemon does without
    import hmac  # noqa: PLC0415

    digest = hmac.digest(thing_name.encode(), certificate_id.encode(), hashlib.sha256)
    return int.from_bytes(digest[:6], "big") / 2**48
