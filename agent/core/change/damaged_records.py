"""What can be known of a change whose record is damaged, and how such a change ends.

A certificate may have been registered for it, which would stay active in the account for ever if no line of the history
named it; and certificates were perhaps asked for, which count against the daily limit. Rules:

* Nothing is parsed that is not sound: a field of the damaged text counts only when it has the form that the agent gives
  it and stands there once. The manifest of the generation that the change had prepared is sealed, so it goes before.
* Only what nothing rests on is listed as left behind. When the change had put its generation in use, that set stays.
* The same damaged file always comes to the same end, however often it is looked at.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from agent.core.change.lifecycle import MAX_REQUESTS, ChangeRecord, Issued, Phase
from agent.core.failure.codes import Code
from agent.core.failure.failure import Failure, FailureClass
from agent.core.frozen import frozen
from agent.core.values import Kind, Origin

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.core.values import Manifest

SHOWN_DIGEST = 16  # hexadecimal digits of the hash that names a damaged file

_ID = re.compile(rb'"id":"([0-9A-Za-z_.-]{1,64})"')
_CERTIFICATE = re.compile(rb'"certificate_id":"([0-9a-f]{64})"')
_KIND = re.compile(rb'"kind":"(%s)"' % b"|".join(kind.encode() for kind in Kind))  # a failure's kind is another word
_REQUESTS = re.compile(rb'"requests":\[([^\]]*)(\]?)')
_TIME = re.compile(rb'"([0-9T:.+-]{19,40})"')


@frozen
class Legible:
    """What a damaged record still says.

    Attributes:
        id: The change's id, or empty.
        kind: What it was to do, or None.
        certificate_id: The certificate that it had got, or empty.
        requests: When certificates were asked for, as far as that can be read.
        all_requests: Whether the list of them is whole.
    """

    id: str = ""
    kind: Kind | None = None
    certificate_id: str = ""
    requests: tuple[datetime, ...] = ()
    all_requests: bool = False

    @property
    def names_itself(self) -> bool:
        """Whether it can be told which generation is its own."""
        return bool(self.id or self.certificate_id)

    def made(self, manifest: Manifest) -> bool:
        """Whether a generation is this change's, by its id or by its certificate."""
        return self.id == manifest.change or self.certificate_id == manifest.certificate_id


def read(data: bytes) -> Legible:
    """Return what the bytes of a damaged record still say."""
    kind, (requests, whole) = _only(_KIND, data), _requests(data)
    return Legible(
        id=_only(_ID, data),
        kind=Kind(kind) if kind else None,
        certificate_id=_only(_CERTIFICATE, data),
        requests=requests,
        all_requests=whole,
    )


def _only(pattern: re.Pattern[bytes], data: bytes) -> str:
    """Return what a field says, when it says one thing alone."""
    found = set(pattern.findall(data))
    return found.pop().decode("ascii") if len(found) == 1 else ""


def _requests(data: bytes) -> tuple[tuple[datetime, ...], bool]:
    found = _REQUESTS.search(data)
    if found is None:
        return (), False
    texts = _TIME.findall(found[1])
    times = tuple(at for text in texts if (at := _time(text)) is not None)
    return times, bool(found[2]) and len(times) == found[1].count(b'"') / 2


def _time(text: bytes) -> datetime | None:
    try:
        at = datetime.fromisoformat(text.decode("ascii"))
    except ValueError:
        return None
    return at if at.tzinfo is not None else None


@frozen
class Prepared:
    """The generation that the change had prepared.

    Attributes:
        manifest: Its manifest.
        in_use: Whether it is current and whole.
        replaced: The certificate that its own certainly took the place of, or None.
    """

    manifest: Manifest
    in_use: bool = False
    replaced: str | None = None


def known(history: Iterable[ChangeRecord], digest: str, change: str) -> ChangeRecord | None:
    """Return the line that a damaged file, or the change that it names, has in the history already; None without one.

    A process that was killed may have written the line and not yet cleared the file away.
    """
    for record in history:
        if record.damage == digest or (change and record.id == change):
            return record
    return None


def ended_damaged(record: ChangeRecord) -> bool:
    """Whether this is the end of a change whose record was damaged."""
    return record.failure is not None and record.failure.code == Code.RECORD_DAMAGED


def told(record: ChangeRecord) -> str:
    """Return what is to be said of the change."""
    if ended_damaged(record) and record.failure is not None:
        return record.failure.message
    return f"Change {record.id} had ended already, as {record.phase}."


def ended(
    found: Legible, digest: str, at: datetime, *, prepared: Prepared | None, kept: frozenset[str] = frozenset()
) -> ChangeRecord:
    """Return the end of a change whose record is damaged, for the history.

    Args:
        found: What the record still says.
        digest: What names it: a hash of its bytes and of when they were written.
        at: The time of the end.
        prepared: The generation that it had prepared, if there is one.
        kept: The certificates of the sets that the links point at.
    """
    manifest = prepared.manifest if prepared else None
    kind = (manifest.kind if manifest else found.kind) or Kind.ROTATE
    certificate_id = manifest.certificate_id if manifest else found.certificate_id
    left = kind.issues and bool(certificate_id) and certificate_id not in kept
    return ChangeRecord(
        id=manifest.change if manifest else found.id or f"damaged-{digest[:SHOWN_DIGEST]}",
        kind=kind,
        origin=manifest.origin if manifest else Origin.SCHEDULE,
        reason="not known, since the record of this change was damaged",
        generation=manifest.number if manifest else 0,
        base=None,
        phase=Phase.REJECTED,
        planned_at=at,
        entered_at=at,
        passed=((Phase.REJECTED, at),),
        requests=_counted(found, kind, at),
        issued=Issued(certificate_pem="", certificate_id=certificate_id, token="", at=at) if left else None,
        unanswered=int(left),  # it may have been registered
        thing_name=manifest.thing_name if manifest else None,
        failure=_failure(digest, certificate_id if left else "", prepared),
        damage=digest,
        replaces=prepared.replaced if prepared and prepared.in_use and kind is not Kind.TRUST else None,
    )


def _counted(found: Legible, kind: Kind, at: datetime) -> tuple[datetime, ...]:
    """Return when certificates were asked for; better one too many than one that does not count."""
    if not kind.issues:
        return ()
    return found.requests[-MAX_REQUESTS:] if found.all_requests else (*found.requests, at)[-MAX_REQUESTS:]


def _failure(digest: str, certificate_id: str, prepared: Prepared | None) -> Failure:
    told = f"The record of this change was damaged (damage {digest[:SHOWN_DIGEST]}), so the change was given up."
    if prepared and prepared.in_use:
        told += f" Generation {prepared.manifest.number}, which it had put in use, stays in use."
    if certificate_id:
        told += f" The certificate {certificate_id} that it had got is left behind."
    remedy = "The damaged record lies in the state directory, as change.json.damaged; `dmesg` may say why."
    return Failure(kind=FailureClass.STORE, code=Code.RECORD_DAMAGED, message=told, remedy=remedy)
