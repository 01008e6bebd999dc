"""Whether a certificate that the cloud issued may be used: one numbered list in one pure function.

`accept` checks (1) to (9); errors quote the number. The caller has parsed every PEM block; a block that could not
be parsed is check (2). A proof by connecting comes later and is not part of acceptance.

(1) The reply is no larger than AWS allows, holds a bounded number of certificates, and an ownership token.
(2) Every PEM block is a certificate that parses, and there is at least one.
(3) The first is a leaf; all others are certificate authorities.
(4) The leaf's public key is the one that this device made.
(5) It has not ended, as far as the clock can be believed. That it begins ahead of this clock, by hours, is a
    warning: it is made when it is asked for, so the clock is slow, and whether it can be used a proof shows.
(6) It is none of the certificates this device already had.
(7) Key usage and extended key usage allow TLS client authentication.
(8) The signature algorithm is one AWS IoT Core accepts ("X.509 client certificates", developer guide).
(9) The certificate id that came along is the SHA-256 of the DER: a warning only, since AWS does not document it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.failure.codes import Code
from agent.core.failure.failure import SET_THE_CLOCK, Failure, FailureClass
from agent.core.frozen import frozen
from agent.core.text import clock_time, duration
from agent.core.timekeeping import TOLERANCE

if TYPE_CHECKING:
    from agent.core.timekeeping import Reading
    from agent.core.values import CertificateFacts

MAX_CERTIFICATE_PEM = 65_536  # characters; certificatePem in the AWS IoT API model
MAX_CHAIN = 10
MAX_TOKEN = 4_096  # characters; AWS names no limit, real ones are below 1,000
MAX_THING_NAME = 128

# A certificate that expires sooner is of no use to a gateway that may be offline for an hour.
LEAST_LIFETIME = timedelta(seconds=30)

SLOW = timedelta(hours=15)  # by which a clock may be behind: one that shows a zone's own time is, by 14 at most

ALLOWED_SIGNATURES = frozenset(
    f"{algorithm}-{digest}" for algorithm in ("rsa", "rsa-pss", "ecdsa") for digest in ("sha256", "sha384", "sha512")
)


@frozen
class Issuance:
    """What came back, and what it is held against.

    Attributes:
        size: Characters of PEM.
        chain: Every certificate in it, in order.
        problem: Why a block could not be parsed, or empty.
        claimed_id: The certificate id in the reply.
        token_size: Characters of the ownership token.
        key_sha256: SHA-256 of the public key info of the key this device made.
        known: SHA-256 of the certificates this device already has.
    """

    size: int
    chain: tuple[CertificateFacts, ...]
    problem: str
    claimed_id: str
    token_size: int
    key_sha256: str
    known: frozenset[str]


def accept(issuance: Issuance, clock: Reading) -> tuple[Failure | None, tuple[str, ...]]:
    """Judge an issued certificate.

    Returns:
        The failure of the first check that does not hold, or None; and warnings.
    """
    for check in (_bounded, _parsed, _leaf_first, _our_key, _valid, _new, _usable, _signed):
        complaint = check(issuance, clock)
        if complaint:
            return _failure(complaint), ()
    leaf = issuance.chain[0]
    if issuance.claimed_id != leaf.sha256:
        return None, ("acceptance check 9: the certificate id in the reply is not the SHA-256 of the certificate",)
    return None, _ahead(leaf, clock)


def _ahead(leaf: CertificateFacts, clock: Reading) -> tuple[str, ...]:
    if clock.reference_time is None or leaf.not_before <= clock.now + TOLERANCE:
        return ()
    slow = duration(leaf.not_before - clock.now)
    told = f"The certificate that was just made begins at {clock_time(leaf.not_before)}: this clock is {slow} slow."
    return (f"{told} {SET_THE_CLOCK}",)


def _failure(complaint: str) -> Failure:
    return Failure(
        kind=FailureClass.PROTOCOL,
        code=Code.UNACCEPTABLE,
        message=f"The certificate that came back is not acceptable: {complaint}.",
        remedy="It was not used.",
        promise="Another is asked for over a new connection.",
    )


def _bounded(issuance: Issuance, _clock: Reading) -> str:
    if issuance.size > MAX_CERTIFICATE_PEM:
        return f"check 1, it has {issuance.size} characters and {MAX_CERTIFICATE_PEM} are allowed"
    if len(issuance.chain) > MAX_CHAIN:
        return f"check 1, it holds {len(issuance.chain)} certificates and {MAX_CHAIN} are allowed"
    if not 0 < issuance.token_size <= MAX_TOKEN:
        return f"check 1, its ownership token has {issuance.token_size} characters"
    return ""


def _parsed(issuance: Issuance, _clock: Reading) -> str:
    if issuance.problem:
        return f"check 2, {issuance.problem}"
    return "" if issuance.chain else "check 2, it holds no certificate"


def _leaf_first(issuance: Issuance, _clock: Reading) -> str:
    leaf, *others = issuance.chain
    if leaf.is_ca:
        return "check 3, the first certificate is a certificate authority"
    return "check 3, it holds more than one leaf" if any(not other.is_ca for other in others) else ""


def _our_key(issuance: Issuance, _clock: Reading) -> str:
    if issuance.chain[0].spki_sha256 != issuance.key_sha256:
        return "check 4, it is for another key than the one this device made"
    return ""


def _valid(issuance: Issuance, clock: Reading) -> str:
    leaf = issuance.chain[0]
    if leaf.not_after <= leaf.not_before:
        return "check 5, it ends before it begins"
    if leaf.not_after < clock.floor:
        return f"check 5, it expired at {clock_time(leaf.not_after)}"
    now = clock.reference_time
    if now is None:
        return ""
    shown = f"and this gateway's clock shows {clock_time(now)}"
    if leaf.not_before > now + SLOW:
        return f"check 5, it is not valid before {clock_time(leaf.not_before)}, {shown}"
    if leaf.not_after < now + LEAST_LIFETIME:
        return f"check 5, it expires at {clock_time(leaf.not_after)}, {shown}"
    return ""


def _new(issuance: Issuance, _clock: Reading) -> str:
    return "check 6, this device already has it" if issuance.chain[0].sha256 in issuance.known else ""


def _usable(issuance: Issuance, _clock: Reading) -> str:
    leaf = issuance.chain[0]
    if leaf.digital_signature is False:
        return "check 7, its key usage does not allow signing"
    return "check 7, its extended key usage does not allow TLS clients" if leaf.client_auth is False else ""


def _signed(issuance: Issuance, _clock: Reading) -> str:
    signature = issuance.chain[0].signature
    return "" if signature in ALLOWED_SIGNATURES else f"check 8, it is signed with {signature}"
