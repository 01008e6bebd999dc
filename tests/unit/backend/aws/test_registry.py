from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from agent.backend.aws.clients import Clients
from agent.backend.aws.registry import AwsRegistry
from agent.backend.decide.orders import JobOrder, job_id
from agent.backend.errors import ChangedError, MisconfiguredError
from agent.backend.values import ShadowReport, Status
from support.aws.account import NOW, certificate_id
from support.aws.moto_account import ARN, Refusal, signing_request

if TYPE_CHECKING:
    from support.aws.moto_account import AwsWorld

NONE = certificate_id("of no certificate")


def refuse(world: AwsWorld, operation: str, code: str, status: int = 409) -> None:
    """Have AWS IoT Core refuse an operation, as moto does not."""
    body = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    world.clients.iot.meta.events.register_first(f"before-call.iot.{operation}", lambda **_: (Refusal(status), body))


def test_what_is_not_there_is_an_answer(world: AwsWorld) -> None:
    """Certificates die, and things are deleted."""
    assert world.registry.certificate(NONE) is None
    assert world.registry.things_of(NONE) == ()
    assert world.registry.policies_of(NONE) == ()
    assert world.registry.certificates_of("gw-0042") is None
    assert world.registry.report("gw-0042") == ShadowReport()
    world.registry.detach_thing("gw-0042", NONE)


def test_what_is_to_be_done_with_something_that_is_gone_has_changed(world: AwsWorld) -> None:
    """The handler decides anew."""
    with pytest.raises(ChangedError):
        world.registry.deactivate(NONE)
    with pytest.raises(ChangedError):
        world.registry.attach_policy("application", NONE)
    with pytest.raises(ChangedError):
        world.registry.attach_thing("gw-0042", NONE)
    with pytest.raises(ChangedError):
        world.registry.delete(NONE)


def test_a_certificate_as_aws_has_it(world: AwsWorld) -> None:
    """Its state, its things and policies, and those of its thing."""
    made = world.enrolled()
    found = world.registry.certificate(made)
    assert found.status is Status.ACTIVE
    assert found.created_at.tzinfo is not None
    assert world.registry.things_of(made) == ("gw-0042",)
    assert world.registry.certificates_of("gw-0042") == (made,)
    world.owner.create_thing(thingName="gw-empty")
    assert world.registry.certificates_of("gw-empty") == ()


def test_deleting_takes_its_policies_and_is_refused_for_a_thing_and_for_an_active_one(world: AwsWorld) -> None:
    """In AWS's own order."""
    made = world.enrolled()
    with pytest.raises(ChangedError):
        world.registry.delete(made)
    world.registry.deactivate(made)
    with pytest.raises(ChangedError):
        world.registry.delete(made)
    world.registry.detach_thing("gw-0042", made)
    world.registry.delete(made)
    assert world.status(made) is None


def test_lists_of_more_than_a_page(world: AwsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them."""
    monkeypatch.setattr("agent.backend.aws.registry._PAGE", 2)
    made = [world.issue() for _ in range(5)]
    listed = {certificate.certificate_id for certificate in world.registry.everything()}
    assert listed >= set(made)


def test_a_job_is_ordered_once(world: AwsWorld) -> None:
    """Its id follows from what it is for, so the second one is the first."""
    made = world.enrolled()
    order = JobOrder(job_id=job_id("17", ["gw-0042"]), things=("gw-0042",), reason="ticket 17")
    assert world.registry.order(order)
    refuse(world, "CreateJob", "ResourceAlreadyExistsException")
    assert not world.registry.order(order)
    assert world.registry.orders_of("gw-0042") == (order.job_id,)
    job = world.owner.describe_job(jobId=order.job_id)["job"]
    assert job["targets"] == [ARN.replace("cert/", "thing/") + "gw-0042"]
    assert json.loads(world.owner.get_job_document(jobId=order.job_id)["document"]) == order.document
    assert world.registry.certificates_of("gw-0042") == (made,)


class _Shadows:
    """A data plane with one document, which is whatever a gateway has written."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def get_thing_shadow(self, **_: str) -> dict[str, Any]:
        """Return it."""
        return {"payload": io.BytesIO(self._payload)}


@pytest.mark.parametrize(
    ("payload", "reported"),
    [
        (b'{"state": {"reported": {"certificateId": "abc"}}}', "abc"),
        (b'{"state": {"reported": {"certificateId": 7}}}', ""),
        (b'{"state": {"reported": []}}', ""),
        (b'{"state": {"desired": {"certificateId": "abc"}}}', ""),
        (b'{"state": null}', ""),
        (b"[]", ""),
        (b"", ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_shadow_of_any_shape(payload: bytes, reported: str) -> None:
    """It is the gateway's to write."""
    clients = Clients(iot=None, data=_Shadows(payload), tables=None)
    assert AwsRegistry(clients, ARN).report("gw-0042").certificate_id == reported


@pytest.mark.parametrize(
    ("renew_at", "expected"),
    [
        ("2026-12-03T10:00:00+00:00", datetime(2026, 12, 3, 10, tzinfo=UTC)),
        ("2026-12-03T12:00:00+02:00", datetime(2026, 12, 3, 10, tzinfo=UTC)),
        ("2026-12-03T10:00:00", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("soon", None),
        (1764756000, None),
        (None, None),
    ],
)
def test_when_a_gateway_renews_by_its_own_word(renew_at: object, expected: datetime | None) -> None:
    """An instant with its zone, or nothing."""
    reported = {"certificateId": "abc", "renewAt": renew_at}
    clients = Clients(iot=None, data=_Shadows(json.dumps({"state": {"reported": reported}}).encode()), tables=None)
    assert AwsRegistry(clients, ARN).report("gw-0042") == ShadowReport(certificate_id="abc", renews_at=expected)


def test_a_policy_that_is_not_there_is_a_refusal_to_go_on(world: AwsWorld) -> None:
    """It was there when it was listed."""
    made = world.enrolled()
    with pytest.raises((ChangedError, MisconfiguredError)):
        world.registry.attach_policy("gone", made)


def test_a_certificate_is_made_inactive_and_another_one_each_time(world: AwsWorld) -> None:
    """With its text, which is the same when it is looked up."""
    made, again = (world.registry.make_certificate(signing_request("first"), NOW) for _ in range(2))
    assert made.certificate_id != again.certificate_id
    assert (made.status, made.created_at) == (Status.INACTIVE, NOW)
    found = world.registry.certificate(made.certificate_id)
    assert (found.status, found.pem) == (Status.INACTIVE, made.pem)
    world.registry.activate(made.certificate_id)
    assert world.status(made.certificate_id) is Status.ACTIVE
    with pytest.raises(ChangedError):
        world.registry.activate(NONE)


def test_a_request_that_aws_does_not_take(world: AwsWorld) -> None:
    """It says so by an error of its own; moto takes no such request for one either, but not by that."""
    refuse(world, "CreateCertificateFromCsr", "InvalidRequestException", 400)
    assert world.registry.make_certificate(signing_request("first"), NOW) is None


def test_a_thing_that_is_there_stays_as_it_is(world: AwsWorld) -> None:
    """It may have attributes and a type, and is then another one to AWS."""
    for _ in range(2):
        world.registry.make_thing("gw-0042")
    assert world.registry.certificates_of("gw-0042") == ()
    refuse(world, "CreateThing", "ResourceAlreadyExistsException")
    world.registry.make_thing("gw-0042")
