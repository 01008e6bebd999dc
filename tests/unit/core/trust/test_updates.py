"""When other anchors are worth a change, and what their pipeline is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import permutations

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import Failure, FailureClass
from agent.core.jsonio import decode, encode_plain
from agent.core.trust import updates
from agent.core.trust.updates import (
    BundleOutcome,
    baked_order,
    baked_provenance,
    differences,
    is_newer,
    outcome_of,
    refusal,
    unchanged,
)
from agent.core.values import BY_HAND, CertificateFacts, Kind, Origin, Provenance, TrustBundle, TrustSource
from agent.errors import BundleError, RefusedError
from support import make
from support.make import DAY, HOUR, NOW

ROOTS = tuple(make.anchor(subject=f"CN=Root {number}", sha256=f"{number:02x}" * 32) for number in (1, 2, 4))
FIRST, SECOND, THIRD = ROOTS
BAKED, BUNDLE = TrustSource.BAKED, TrustSource.BUNDLE


def bundle(*anchors: CertificateFacts, provenance: Provenance | None = None) -> TrustBundle:
    """Return anchors with where they came from."""
    return TrustBundle(pem=b"", anchors=anchors, provenance=provenance)


def of(source: TrustSource, issued_at: datetime | None = None) -> Provenance:
    """Return a provenance."""
    return Provenance(source=source, version=0 if source is BAKED else 7, issued_at=issued_at)


# -- the baked copy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "issued"),
    [
        (b"# Issued: 2026-11-01\n", datetime(2026, 11, 1, tzinfo=UTC)),
        (b"# Amazon\n#Issued:2026-11-01\n-----BEGIN", datetime(2026, 11, 1, tzinfo=UTC)),
        (b"\n#   Issued:   2026-11-01  \nmore", datetime(2026, 11, 1, tzinfo=UTC)),
        (b"# Issued: 2026-11-01\r\n# x\r\n", datetime(2026, 11, 1, tzinfo=UTC)),
        (b"# Issued: 2026-11-01\n# Issued: 2027-11-01\n", datetime(2026, 11, 1, tzinfo=UTC)),
        (b"", None),
        (b"Issued: 2026-11-01\n", None),
        (b"# Issued: yesterday\n", None),
        (b"# Issued: 2026-13-01\n", None),
        (b"# Issued: 2026-02-30\n", None),
        (b"# Issued: 0000-01-01\n", None),
        (b"# Issued: 2026-11-01T00:00\n", None),
        (b"# It was Issued: 2026-11-01\n", None),
        (b"#" * 5_000 + b"\n# Issued: 2026-11-01\n", None),
        (b"\xff\x00# Issued: 2026-11-01", None),
    ],
)
def test_a_baked_copy_says_in_a_comment_how_old_it_is(text: bytes, issued: datetime | None) -> None:
    """At its beginning; without one, or with one that is no date, it does not say."""
    assert baked_provenance(text) == Provenance(source=BAKED, version=0, issued_at=issued)


def test_a_baked_copy_is_named_by_its_anchors() -> None:
    """Whatever their order; other anchors have another name, which fits into an order."""
    names = {baked_order(bundle(*order)) for order in permutations(ROOTS)}
    others = {baked_order(bundle(*some)) for some in ((FIRST,), (SECOND,), (FIRST, SECOND), (FIRST, THIRD))}

    assert len(names) == 1
    assert len(others) == 4
    assert not names & others
    assert all(name.startswith("baked:") and len(name) <= 128 for name in names | others)


OLD, NEW = NOW - 30 * DAY, NOW - DAY


@pytest.mark.parametrize(
    ("baked", "current", "newer"),
    [
        (of(BAKED, NEW), of(BAKED, OLD), True),
        (of(BAKED, OLD), of(BAKED, NEW), False),
        (of(BAKED, NEW), of(BAKED, NEW), False),
        (of(BAKED, NEW), of(BUNDLE, OLD), True),
        (of(BAKED, OLD), of(BUNDLE, NEW), False),
        (of(BAKED, NEW), of(BUNDLE, NEW), False),
        (of(BAKED), of(BAKED, OLD), True),
        (of(BAKED), of(BAKED), True),
        (of(BAKED, NEW), of(BAKED), True),
        (of(BAKED, OLD), None, True),
        (of(BAKED), None, True),
        (None, None, True),
        (of(BAKED), of(BUNDLE, OLD), False),
        (of(BAKED), of(BUNDLE), False),
        (of(BAKED, NEW), of(BUNDLE), False),
        (of(BAKED, NEW), BY_HAND, False),
    ],
)
def test_a_baked_copy_is_taken_up_when_it_is_newer(
    baked: Provenance | None, current: Provenance | None, *, newer: bool
) -> None:
    """By the dates of both, where both have one; a signed bundle gives way to nothing that does not say its age."""
    mine, theirs = bundle(FIRST, SECOND, provenance=baked), bundle(FIRST, provenance=current)

    assert is_newer(mine, theirs, ()) is newer


def test_the_same_anchors_are_never_newer() -> None:
    """In another order, and with a later date: there is nothing to change."""
    mine = bundle(SECOND, FIRST, provenance=of(BAKED, NEW))

    assert not is_newer(mine, bundle(FIRST, SECOND, provenance=of(BAKED, OLD)), ())


@pytest.mark.parametrize("phase", [Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK])
def test_a_baked_copy_that_was_tried_is_not_tried_again(phase: Phase) -> None:
    """Whatever became of it, however long ago: an image that does not fit would be tried at each start."""
    mine, current = bundle(FIRST, SECOND, provenance=of(BAKED, NEW)), bundle(FIRST, provenance=of(BAKED, OLD))
    tried = make.finished(phase, kind=Kind.TRUST, origin=Origin.IMAGE, order=baked_order(bundle(SECOND, FIRST)))
    other = replace(tried, order=baked_order(bundle(THIRD)))

    assert not is_newer(mine, current, (make.finished(), tried))
    assert is_newer(mine, current, (other, make.finished(order="job:j:1")))


# -- what is told ------------------------------------------------------------------------------------------------------


def test_the_difference_names_what_comes_and_what_goes() -> None:
    """By name, fingerprint and end; what stays is not told."""
    found = differences(bundle(FIRST, SECOND), bundle(SECOND, THIRD))

    assert found.plain() == {
        "added": [{"name": "Root 4", "sha256": "04" * 32, "not_after": (NOW + 4000 * DAY).isoformat()}],
        "removed": [{"name": "Root 1", "sha256": "01" * 32, "not_after": (NOW + 4000 * DAY).isoformat()}],
    }
    assert differences(bundle(FIRST), bundle(FIRST)).plain() == {"added": [], "removed": []}


GIVEN_UP = make.failure(FailureClass.OPERATOR, "given-up", message="Given up: test.", decisive=True)
UNTRUSTED = make.failure(FailureClass.SERVER_TRUST, "unknown-root", decisive=True)


NOTHING = BundleOutcome()


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.ended])
def test_a_change_in_flight_is_in_progress(phase: Phase) -> None:
    """With what troubles it, and never with a verdict; a person's wish is none before it is carried out."""
    assert outcome_of(make.record(phase, kind=Kind.TRUST), NOTHING).outcome == "in-progress"
    assert outcome_of(make.record(phase, kind=Kind.TRUST, failure=GIVEN_UP), NOTHING).outcome == "in-progress"


@pytest.mark.parametrize(
    ("phase", "failure", "outcome"),
    [
        (Phase.COMMITTED, None, "installed"),
        (Phase.RETIRED, None, "installed"),
        (Phase.REJECTED, UNTRUSTED, "refused"),
        (Phase.ROLLED_BACK, UNTRUSTED, "rolled-back"),
        (Phase.REJECTED, GIVEN_UP, "given-up"),
        (Phase.ROLLED_BACK, GIVEN_UP, "given-up"),
    ],
)
def test_each_end_has_a_word(phase: Phase, failure: Failure | None, outcome: str) -> None:
    """And a reason where it is not what was wanted."""
    record = make.finished(phase, kind=Kind.TRUST, failure=failure)
    told = outcome_of(record, NOTHING).plain()

    assert (told["outcome"], told["phase"], told["change"]) == (outcome, phase, record.id)
    assert told["at"] == record.entered_at.isoformat()
    assert str(told["message"]).endswith(".")
    if failure is None:
        assert not {"class", "code", "remedy"} & set(told)
    else:
        assert (told["class"], told["code"], told["message"]) == (failure.kind, failure.code, failure.message)


def test_what_troubled_a_change_is_not_told_of_its_end() -> None:
    """What is known of the anchors is."""
    troubled = outcome_of(make.record(Phase.PREPARED, kind=Kind.TRUST, failure=UNTRUSTED), BundleOutcome(version=7))
    told = outcome_of(make.finished(Phase.COMMITTED, kind=Kind.TRUST), troubled)

    assert (told.outcome, told.version, told.kind, told.code, told.remedy) == ("installed", 7, "", "", "")


def test_every_end_of_a_change_has_an_outcome() -> None:
    """No phase is forgotten, and every outcome has a sentence."""
    assert {outcome_of(make.record(phase), NOTHING).outcome for phase in Phase} == set(updates._SENTENCES) - {
        "given-up"
    }


def test_what_is_told_is_read_as_it_was_written() -> None:
    """It goes into a file."""
    anchors = replace(differences(bundle(FIRST), bundle(FIRST, SECOND)), version=7, warnings=("It ends soon.",))
    told = outcome_of(make.finished(Phase.ROLLED_BACK, failure=UNTRUSTED), anchors)

    assert BundleOutcome.read(decode(encode_plain(told.plain()), "told", limit=10_000)) == told
    assert unchanged(NOW, NOTHING).plain() == {
        "outcome": "unchanged",
        "message": "These anchors are in use already.",
        "at": NOW.isoformat(),
    }


@pytest.mark.parametrize(("passing", "outcome"), [(True, "waiting"), (False, "refused")])
def test_a_bundle_that_became_no_change_is_told_why(*, passing: bool, outcome: str) -> None:
    """With the remedy, if there is one; what passes is judged again."""
    error = BundleError("expired", "It has expired.", hint="Sign it anew.", passing=passing)
    told = refusal(error.code, error, NOW + HOUR, passing=passing)

    assert told.plain() == {
        "outcome": outcome,
        "code": "expired",
        "message": "It has expired.",
        "remedy": "Sign it anew.",
        "at": (NOW + HOUR).isoformat(),
    }
    assert "remedy" not in refusal("not-now", RefusedError("Not now."), NOW, passing=True).plain()
