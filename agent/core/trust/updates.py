"""When other trust anchors are worth a change, and what their pipeline is told. Pure; the doing is elsewhere."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.frozen import frozen
from agent.core.jsonio import to_plain
from agent.core.text import common_name
from agent.core.values import Provenance, TrustBundle, TrustSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.jsonio import Node
    from agent.core.values import CertificateFacts
    from agent.errors import AgentError

_ISSUED = re.compile(rb"^#\s*Issued:\s*(\d{4}-\d{2}-\d{2})\s*$", re.MULTILINE)
_SEARCHED = 4_096  # bytes at the beginning of a baked copy

MAX_ARCHIVE = 8_388_608  # bytes, packed or not; a bundle of every public root has a tenth of it

INBOX, BAKED = "inbox:", "baked:"


def baked_provenance(data: bytes) -> Provenance:
    """Return the provenance of a baked copy; a comment ``# Issued: 2026-11-01`` says how old it is."""
    found = _ISSUED.search(data[:_SEARCHED])
    try:
        issued = datetime.fromisoformat(found[1].decode()).replace(tzinfo=UTC) if found else None
    except ValueError:
        issued = None
    return Provenance(source=TrustSource.BAKED, issued_at=issued)


def inbox_order(name: str, digest: str) -> str:
    """Return how a change names the drop that it came from."""
    return f"{INBOX}{name}:{digest[:16]}"


def drop_of(order: str) -> str:
    """Return the name of the drop that a change came from, or nothing."""
    return order.removeprefix(INBOX).rpartition(":")[0] if order.startswith(INBOX) else ""


def baked_order(baked: TrustBundle) -> str:
    """Return how a change names the baked copy that it takes up."""
    digest = 0
    for fingerprint in baked.fingerprints:
        digest ^= int(fingerprint, 16)  # the order of the anchors does not matter
    return f"{BAKED}{digest:064x}"


def is_newer(baked: TrustBundle, current: TrustBundle, history: Iterable[ChangeRecord]) -> bool:
    """Whether a baked copy is newer than the anchors in use, so that an OS image can ship anchors.

    * A copy that was tried once is not tried again, whatever became of it.
    * Where both say when they were issued, that decides: an image that was rolled back brings nothing old with it.
    * A signed bundle is only replaced by a copy that says that it is newer, and what a person brought by none: that
      gateway was given it for a reason, and a bundle can be signed that has it.
    """
    if baked.fingerprints == current.fingerprints or _was_tried(baked, history):
        return False
    theirs = current.provenance
    mine = baked.provenance.issued_at if baked.provenance else None
    if mine is not None and theirs is not None and theirs.issued_at is not None:
        return mine > theirs.issued_at
    return theirs is None or theirs.source is TrustSource.BAKED


def _was_tried(baked: TrustBundle, history: Iterable[ChangeRecord]) -> bool:
    order = baked_order(baked)
    return any(record.order == order for record in history)


_Sentences = Annotated[str, 16_384]  # characters; the file that they stand in is bounded as a whole


@frozen
class NamedAnchor:
    """An anchor that comes or goes: the common name of its subject, its fingerprint, its end."""

    name: str
    sha256: str
    not_after: datetime


@frozen
class BundleOutcome:
    """What is told about a bundle, or about a set that was imported; what is None or empty is not told.

    Attributes:
        outcome: ``installed``, ``in-progress``, ``unchanged``, ``waiting``, ``refused``, ``rolled-back``, ``given-up``.
        change: The id of the change that it became.
        generation: The generation that the change makes.
        phase: How far the change has come.
        kind: The class of the failure, `class` as JSON.
        code: A short stable name of the failure, or of the reason for refusing it.
        message: A sentence for people.
        remedy: What helps.
        at: When that came to be.
        added: Anchors that are not in use yet.
        removed: Anchors in use that are not among them.
        version: The bundle's version.
        warnings: What a person should know about the anchors.
    """

    outcome: str = ""
    change: str = ""
    generation: int | None = None
    phase: str = ""
    kind: str = ""
    code: str = ""
    message: _Sentences = ""
    remedy: _Sentences = ""
    at: datetime | None = None
    added: tuple[NamedAnchor, ...] | None = None
    removed: tuple[NamedAnchor, ...] | None = None
    version: int | None = None
    warnings: tuple[_Sentences, ...] | None = None

    def plain(self) -> Mapping[str, object]:
        """Return it as JSON."""
        told = {_KEYS.get(item.name, item.name): getattr(self, item.name) for item in fields(self)}
        return {name: to_plain(value) for name, value in told.items() if value not in (None, "")}

    @classmethod
    def read(cls, node: Node) -> BundleOutcome:
        """Return what was told before, from its JSON.

        Raises:
            PlainError: It is not what this agent writes.
        """
        return replace(node.record(cls), kind=node.optional_text("class") or "")


_KEYS = {"kind": "class"}


def differences(before: TrustBundle, after: TrustBundle) -> BundleOutcome:
    """Return which anchors come and which go, for the pipeline that shipped them."""
    return BundleOutcome(
        added=tuple(_named(anchor) for anchor in after.anchors if anchor.sha256 not in before.fingerprints),
        removed=tuple(_named(anchor) for anchor in before.anchors if anchor.sha256 not in after.fingerprints),
    )


def _named(anchor: CertificateFacts) -> NamedAnchor:
    return NamedAnchor(name=common_name(anchor.subject), sha256=anchor.sha256, not_after=anchor.not_after)


def outcome_of(record: ChangeRecord, anchors: BundleOutcome) -> BundleOutcome:
    """Return what a pipeline is told about the change that its bundle became.

    Args:
        record: The change.
        anchors: What was told of the bundle's anchors before, which goes on being told.
    """
    failure, outcome = record.failure, _outcome(record)
    return replace(
        anchors,
        outcome=outcome,
        change=record.id,
        generation=record.generation,
        phase=record.phase.value,
        kind=failure.kind.value if failure else "",
        code=failure.code if failure else "",
        message=failure.message if failure else _SENTENCES[outcome],
        remedy=failure.advice if failure else "",
        at=record.entered_at,
    )


_SENTENCES = {
    "installed": "The anchors are in use, and held through probation.",
    "in-progress": "The bundle is accepted; its anchors are proven against the live endpoint before they are used.",
    "refused": "The anchors were not used.",
    "rolled-back": "The anchors before are in use again.",
    "given-up": "A person gave the change up; the anchors before are in use.",
}


def _outcome(record: ChangeRecord) -> str:
    failure = record.failure
    if failure is not None and failure.kind is FailureClass.OPERATOR and record.phase.ended:
        return "refused" if failure.code == Code.VETOED else "given-up"
    match record.phase:
        case Phase.COMMITTED | Phase.RETIRED:
            return "installed"
        case Phase.REJECTED:
            return "refused"
        case Phase.ROLLED_BACK:
            return "rolled-back"
        case _:
            return "in-progress"


def unchanged(at: datetime, anchors: BundleOutcome) -> BundleOutcome:
    """Return what a pipeline is told when these very anchors are in use already."""
    return replace(anchors, outcome="unchanged", message="These anchors are in use already.", at=at)


def refusal(code: str, error: AgentError, at: datetime, *, passing: bool) -> BundleOutcome:
    """Return what a pipeline is told when its bundle became no change.

    Args:
        code: A short stable name of the reason.
        error: Why, for people.
        at: When.
        passing: Whether the bundle is kept and judged again.
    """
    outcome = "waiting" if passing else "refused"
    return BundleOutcome(outcome=outcome, code=code, message=str(error), remedy=error.hint, at=at)
