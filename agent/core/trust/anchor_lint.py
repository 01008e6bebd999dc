"""What is wrong with a store of trust anchors: one finding each, with a stable code and the remedy.

Rules:

* A certificate that cannot be read is one finding and hides none of the others.
* Nothing is judged by a clock that is not believed: without an instant there are no findings about dates.
* A finding is an error only when it can make the store useless or dangerous as a gateway's anchors; a bundle with an
  error is not installed. What is merely untidy is a warning, what every store has is information.

The lists of what is distrusted and of what AWS IoT Core needs are data with sources; see `agent.crypto.root_lists`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.frozen import frozen
from agent.core.text import common_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime, timedelta

    from agent.core.values import CertificateFacts


class Severity(StrEnum):
    """How much a finding matters, in ascending order."""

    INFORMATION = "information"
    WARNING = "warning"
    ERROR = "error"


@frozen
class StoreEntry:
    """One certificate of a store, or what stands in its place.

    Attributes:
        line: Where it begins; 1 for a binary file.
        facts: What it says, or None when it cannot be read.
        problem: Why it cannot be read, else empty.
        hint: How it becomes something that can be; empty where that is not known.
    """

    line: int
    facts: CertificateFacts | None = None
    problem: str = ""
    hint: str = ""


@frozen
class KnownRoot:
    """A root that a list of ours names.

    Attributes:
        name: For people.
        sha256: SHA-256 of its DER.
        spki_sha256: SHA-256 of its subject public key info, which a reissued root keeps.
        why: Why it is on the list, as a clause; empty where the list says it.
    """

    name: str
    sha256: str
    spki_sha256: str
    why: str = ""


@frozen
class KnownRoots:
    """What is known about roots.

    Attributes:
        amazon: What AWS IoT Core's ATS endpoints may chain to; any of them may be used at any time.
        distrusted: Roots that the public root programmes have withdrawn trust from.
        organisations: Why, by the organisation in a root's own name, for whole families of such roots.
    """

    amazon: tuple[KnownRoot, ...] = ()
    distrusted: tuple[KnownRoot, ...] = ()
    organisations: Mapping[str, str] = field(default_factory=dict)

    def distrust_of(self, facts: CertificateFacts) -> str:
        """Return why a certificate is distrusted, as a clause, or nothing."""
        for root in self.distrusted:
            if facts.sha256 == root.sha256 or facts.spki_sha256 == root.spki_sha256:
                return root.why
        if facts.subject != facts.issuer:
            return ""
        return self.organisations.get(organisation(facts.subject), "")


@frozen
class AnchorFinding:
    """One thing about one certificate, or about the store as a whole.

    Attributes:
        code: A short stable name for machines.
        severity: How much it matters.
        message: A sentence that names the certificate.
        remedy: What to do, or empty.
        sha256: The certificate, or empty.
    """

    code: str
    severity: Severity
    message: str
    remedy: str = ""
    sha256: str = ""


# Weaker than what NIST SP 800-57 part 1 allows since 2014.
MIN_RSA_BITS = 2048

# What `agent.crypto.server_chain` takes besides RSA, which is the web PKI's own list.
_TAKEN = frozenset({"EC P-256", "EC P-384", "EC P-521"})

VERSION_3 = 3  # the first that says whether a certificate is an authority (RFC 5280, section 4.2.1.9)

# Self-signatures with MD2, MD5 or SHA-1 (RFC 3279). No client checks a root's own signature, so they do no harm.
_OLD_SIGNATURES = frozenset({
    "1.2.840.113549.1.1.2", "1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.2.840.10045.4.1",
})  # fmt: skip

_ORDER = [Severity.ERROR, Severity.WARNING, Severity.INFORMATION]


def organisation(name: str) -> str:
    """Return the organisation of an RFC 4514 name, or nothing."""
    marked = name.replace("\\,", "\0")
    parts = [part.strip() for part in marked.split(",")]
    return next((part[2:].replace("\0", ",") for part in parts if part.startswith("O=")), "")


def lint(
    entries: Iterable[StoreEntry], known: KnownRoots, now: datetime | None, *, soon: timedelta, amazon: bool
) -> tuple[AnchorFinding, ...]:
    """Return what is to be said about a store, the worst first.

    Args:
        entries: What is in it.
        known: What is known about roots.
        now: The instant to judge dates by, or None when no clock is believed.
        soon: How long before its end a certificate counts as expiring.
        amazon: Whether the store is meant for AWS IoT Core, so that a missing Amazon root is a finding.
    """
    entries = tuple(entries)
    found = [finding for entry in entries for finding in _of_entry(entry, known, now, soon)]
    facts = [entry.facts for entry in entries if entry.facts is not None]
    found += [*_duplicates(facts), *_empty(facts)]
    if amazon and facts:
        found += _missing(facts, known)
    return tuple(sorted(found, key=lambda finding: _ORDER.index(finding.severity)))


def entries_of(anchors: Iterable[CertificateFacts]) -> tuple[StoreEntry, ...]:
    """Return certificates that were read already as what is in a store."""
    return tuple(StoreEntry(line=1, facts=anchor) for anchor in anchors)


def worst(findings: Iterable[AnchorFinding]) -> Severity | None:
    """Return the highest severity among findings, or None without any."""
    return min((finding.severity for finding in findings), key=_ORDER.index, default=None)


def _of_entry(entry: StoreEntry, known: KnownRoots, now: datetime | None, soon: timedelta) -> Iterator[AnchorFinding]:
    facts = entry.facts
    if facts is None:
        message = f"The entry at line {entry.line} cannot be used: {entry.problem}."
        yield AnchorFinding(code="unparsable", severity=Severity.ERROR, message=message,
                      remedy=entry.hint or "Remove it, or replace it by a sound copy.")  # fmt: skip
        return
    name = common_name(facts.subject)
    if now is not None:
        yield from _dates(facts, name, now, soon)
    why = known.distrust_of(facts)
    if why:
        yield _warning("distrusted", facts, f"{name} is distrusted: {why}.",
                       "Remove it once no endpoint of yours chains to it.")  # fmt: skip
    if facts.version < VERSION_3 and facts.subject == facts.issuer:
        message = f"{name} is of X.509 version {facts.version}, which TLS libraries do not all take for an authority."
        yield _warning("old-version", facts, message, "Ship its successor, then remove it.")
    elif not facts.is_ca:
        message = f"{name} is not a certificate authority, so it cannot be an anchor."
        yield _error("not-a-ca", facts, message, "Put in the root that signed it instead.")
    yield from _form(facts, name)
    if facts.signature in _OLD_SIGNATURES:
        message = f"{name} signed itself with MD5 or SHA-1, which does no harm in an anchor."
        yield AnchorFinding(code="old-signature", severity=Severity.INFORMATION, message=message, sha256=facts.sha256)


def _form(facts: CertificateFacts, name: str) -> Iterator[AnchorFinding]:
    if is_weak(facts.key):
        yield _error("weak-key", facts, f"{name} has a weak key ({facts.key}).", "Remove it, or have it reissued.")
    elif facts.key not in _TAKEN and not facts.key.startswith("RSA "):
        message = f"{name} has a key that this agent takes below no server ({facts.key})."
        yield _error("odd-key", facts, message, "Remove it, or have it reissued with RSA or on P-256, P-384 or P-521.")
    if facts.unfit is not None:
        message = f"{name} cannot stand above a server: {facts.unfit}."
        yield _error("unfit", facts, message, "Remove it, or have it reissued for servers.")
    if facts.serial.startswith("-"):
        message = f"{name} has a negative serial number, which some TLS libraries refuse."
        yield _warning("negative-serial", facts, message, "Ship its successor, then remove it.")


def _dates(facts: CertificateFacts, name: str, now: datetime, soon: timedelta) -> Iterator[AnchorFinding]:
    day = f"{facts.not_after:%Y-%m-%d}"
    if facts.not_after <= now:
        yield _warning("expired", facts, f"{name} expired on {day}.", "Ship its successor, then remove it.")
    elif facts.not_after - now < soon:
        yield _warning("expiring", facts, f"{name} expires on {day}.", "Ship its successor before that day.")
    elif facts.not_before > now:
        message = f"{name} is not valid before {facts.not_before:%Y-%m-%d}."
        yield _warning("not-yet-valid", facts, message, "Check the clock; keep the root that is valid now.")


def is_weak(key: str) -> bool:
    """Whether a key, as `CertificateFacts.key` tells it, is too short for any use, or DSA."""
    kind, _, bits = key.partition(" ")
    return kind == "DSA" or bits == "secp192r1" or (kind == "RSA" and bits.isdecimal() and int(bits) < MIN_RSA_BITS)


def _duplicates(facts: Iterable[CertificateFacts]) -> Iterator[AnchorFinding]:
    facts = tuple(facts)
    counted = Counter(item.sha256 for item in facts)
    names = {item.sha256: item for item in facts}
    for sha256, times in counted.items():
        if times > 1:
            item = names[sha256]
            message = f"{common_name(item.subject)} stands in the store {times} times."
            yield _warning("duplicate", item, message, "Keep one of them.")


def _empty(facts: Iterable[CertificateFacts]) -> Iterator[AnchorFinding]:
    if not tuple(facts):
        message = "There is no usable certificate in the store, so no server could be verified with it."
        yield AnchorFinding(
            code="empty", severity=Severity.ERROR, message=message, remedy="Put the roots in, as PEM or DER."
        )


def _missing(facts: Iterable[CertificateFacts], known: KnownRoots) -> Iterator[AnchorFinding]:
    present = {item.spki_sha256 for item in facts}
    for root in known.amazon:
        if root.spki_sha256 not in present:
            message = f"{root.name} is missing; AWS IoT Core's ATS endpoints may chain to it at any time."
            remedy = (
                "Add it, from the Amazon Trust Services repository or from the file that came with the agent's package."
            )
            yield AnchorFinding(
                code="missing", severity=Severity.WARNING, message=message, remedy=remedy, sha256=root.sha256
            )


def _warning(code: str, facts: CertificateFacts, message: str, remedy: str) -> AnchorFinding:
    return AnchorFinding(code=code, severity=Severity.WARNING, message=message, remedy=remedy, sha256=facts.sha256)


def _error(code: str, facts: CertificateFacts, message: str, remedy: str) -> AnchorFinding:
    return AnchorFinding(code=code, severity=Severity.ERROR, message=message, remedy=remedy, sha256=facts.sha256)
