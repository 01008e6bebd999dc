from __future__ import annotations

from dataclasses import replace

import pytest

from agent.backend.decide.deletion import (
    PUT_OFF,
    REMEMBERED,
    SETTLED,
    CertificateKind,
    DueCertificate,
    classify,
    may_delete,
)
from agent.backend.decide.verdict import AttachThing, Deed, DeleteCertificate, DetachThing, SaveRecord
from agent.backend.names import Metric
from agent.backend.values import Certificate, CertificateOrigin, Record, Status
from support.aws.account import DAY, HOUR, NOW, certificate_id

OLD, NEW = certificate_id("old"), certificate_id("new")
ROW = Record(
    certificate_id=OLD, thing="gw-0042", retired_at=NOW - 30 * DAY, retired_by=NEW, delete_after=NOW, version=4
)
DETACHED = replace(ROW, detached_at=NOW - HOUR)


def certificate(name: str = OLD, status: Status = Status.INACTIVE) -> Certificate:
    """One that is a year old."""
    return Certificate(certificate_id=name, status=status, created_at=NOW - 365 * DAY)


SUCCESSOR = (certificate(NEW, Status.ACTIVE),)
FOUND = DueCertificate(certificate=certificate(), things=("gw-0042",), others=SUCCESSOR)
OFF = replace(FOUND, things=())


@pytest.mark.parametrize(
    ("row", "found", "deeds"),
    [
        (ROW, FOUND, [SaveRecord(replace(ROW, detached_at=NOW)), DetachThing("gw-0042", OLD)]),
        (DETACHED, FOUND, [DetachThing("gw-0042", OLD)]),
        (
            DETACHED,
            OFF,
            [
                DeleteCertificate(OLD),
                SaveRecord(replace(DETACHED, delete_after=None, ended_at=NOW, expires_at=NOW + REMEMBERED)),
            ],
        ),
        (ROW, replace(FOUND, others=(certificate(NEW),)), [SaveRecord(replace(ROW, delete_after=NOW + PUT_OFF))]),
        (ROW, replace(FOUND, others=()), [SaveRecord(replace(ROW, delete_after=NOW + PUT_OFF))]),
        (ROW, replace(OFF, certificate=certificate(status=Status.REVOKED), others=None), [DeleteCertificate(OLD)]),
        (ROW, replace(FOUND, things=("gw-0666",)), [SaveRecord(replace(ROW, delete_after=None))]),
        (ROW, replace(FOUND, things=("gw-0042", "gw-0666")), [SaveRecord(replace(ROW, delete_after=None))]),
        (
            ROW,
            replace(FOUND, certificate=None),
            [SaveRecord(replace(ROW, delete_after=None, ended_at=NOW, expires_at=NOW + REMEMBERED))],
        ),
        (
            ROW,
            replace(FOUND, certificate=certificate(status=Status.PENDING_TRANSFER)),
            [SaveRecord(replace(ROW, delete_after=NOW + PUT_OFF))],
        ),
        (replace(ROW, delete_after=NOW + HOUR), FOUND, []),
        (replace(ROW, delete_after=None), FOUND, []),
        (replace(ROW, retired_at=None), FOUND, []),
    ],
)
def test_what_becomes_of_a_certificate_that_is_due(row: Record, found: DueCertificate, deeds: list[Deed]) -> None:
    """Each case, and what is done; nothing else ever is."""
    assert list(may_delete(row, found, NOW).do)[: len(deeds)] == deeds
    assert bool(may_delete(row, found, NOW).do) is bool(deeds)


ASIDE = replace(ROW, origin=CertificateOrigin.VENDING, retired_at=None, retired_by="")


@pytest.mark.parametrize(
    ("found", "deeds"),
    [
        (FOUND, [SaveRecord(replace(ASIDE, detached_at=NOW)), DetachThing("gw-0042", OLD)]),
        (OFF, [DeleteCertificate(OLD)]),
        (replace(OFF, others=None), [DeleteCertificate(OLD)]),
        (replace(OFF, others=()), [SaveRecord(replace(ASIDE, delete_after=NOW + PUT_OFF))]),
        (
            replace(FOUND, certificate=certificate(status=Status.ACTIVE)),
            [SaveRecord(replace(ASIDE, delete_after=None))],
        ),
    ],
)
def test_what_becomes_of_a_certificate_that_was_set_aside(found: DueCertificate, deeds: list[Deed]) -> None:
    """The same, without a retirement; one that is active was sold, and is no rescue."""
    verdict = may_delete(ASIDE, found, NOW)
    assert list(verdict.do)[: len(deeds)] == deeds
    assert verdict.count is not Metric.RESCUED
    assert classify(certificate(), (), ASIDE, NOW).kind is CertificateKind.PENDING


@pytest.mark.parametrize(
    ("row", "things", "attached"),
    [(ROW, ("gw-0042",), False), (DETACHED, (), True), (DETACHED, ("gw-0042",), False), (DETACHED, ("gw-1",), False)],
)
def test_a_rescued_certificate_is_as_it_was(row: Record, things: tuple[str, ...], *, attached: bool) -> None:
    """Its thing is given back first, so that a round which dies there does it again."""
    found = DueCertificate(certificate=certificate(status=Status.ACTIVE), things=things, others=SUCCESSOR)
    verdict = may_delete(row, found, NOW)
    *before, saved = verdict.do
    assert before == ([AttachThing("gw-0042", OLD)] if attached else [])
    assert isinstance(saved, SaveRecord)
    assert saved.record == Record(certificate_id=OLD, thing="gw-0042", version=4)
    assert verdict.count is Metric.RESCUED


def test_a_thing_that_is_gone_is_given_to_no_certificate() -> None:
    """There is nothing to attach it to."""
    found = DueCertificate(certificate=certificate(status=Status.ACTIVE), things=(), others=None)
    assert [type(deed) for deed in may_delete(DETACHED, found, NOW).do] == [SaveRecord]


@pytest.mark.parametrize(
    ("status", "things", "row", "age", "kind"),
    [
        (Status.PENDING_ACTIVATION, (), None, HOUR / 2, CertificateKind.PENDING),
        (Status.ACTIVE, (), None, SETTLED / 2, CertificateKind.PENDING),
        (Status.ACTIVE, (), None, SETTLED, CertificateKind.UNATTACHED),
        (Status.ACTIVE, (), ROW, 30 * DAY, CertificateKind.UNATTACHED),
        (Status.ACTIVE, ("gw-0042",), ROW, DAY, CertificateKind.IN_USE),
        (Status.ACTIVE, ("gw-0042",), None, DAY, CertificateKind.FOREIGN),
        (Status.ACTIVE, ("gw-0042", "gw-0043"), ROW, DAY, CertificateKind.SHARED),
        (Status.INACTIVE, ("gw-0042",), ROW, DAY, CertificateKind.RETIRED),
        (Status.INACTIVE, ("gw-0042",), replace(ROW, delete_after=None), DAY, CertificateKind.INACTIVE),
        (Status.REVOKED, (), None, DAY, CertificateKind.INACTIVE),
    ],
)
def test_what_a_certificate_of_the_account_is(
    status: Status, things: tuple[str, ...], row: Record | None, age: object, kind: CertificateKind
) -> None:
    """By its state, its things and its row."""
    made = replace(certificate(status=status), created_at=NOW - age)  # type: ignore[operator]
    found = classify(made, things, row, NOW)
    assert found.kind is kind
    assert found.why.endswith(".")
    assert bool(found.remedy) is (
        kind in {CertificateKind.UNATTACHED, CertificateKind.SHARED, CertificateKind.INACTIVE, CertificateKind.FOREIGN}
    )
