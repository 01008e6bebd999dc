from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from agent.backend.decide.audits import MOST_DUE, Left
from agent.backend.errors import UnavailableError
from agent.backend.handlers import audits
from agent.backend.memory import MemoryAuditor
from agent.backend.names import REASON, Metric
from agent.backend.values import AuditFinding, Check, Signer, SigningCa, Status
from support.aws.account import DAY, HOUR, NOW, SETTINGS, World, certificate_id

if TYPE_CHECKING:
    from agent.backend.settings import StackSettings

TASK = "0123456789abcdef0123456789abcdef"
CA, SIGNER = "ca" * 32, "cb" * 32


class Audited:
    """An account, its gateways, and Device Defender."""

    def __init__(self, settings: StackSettings = SETTINGS) -> None:
        self.world = World(settings)
        self.auditor = MemoryAuditor()
        self.left = timedelta(minutes=15)

    def gateway(self, serial: str, *, age: timedelta = 85 * DAY, life: timedelta = 90 * DAY) -> str:
        """Enrol a gateway whose certificate has reached an age, in days of which the rows know."""
        made = self.world.enrolled(serial)
        entry = self.world.registry.entries[made]
        begin = self.world.now - age
        entry.certificate = replace(entry.certificate, created_at=begin, not_before=begin, not_after=begin + life)
        row = self.world.store.records[made]
        self.world.store.records[made] = replace(row, issued_at=begin)
        return made

    def find(self, *certificates: str, check: Check = Check.EXPIRING, task: str = TASK) -> None:
        """Have an audit find certificates."""
        for name in certificates:
            entry = self.world.registry.entries.get(name)
            ends = entry.certificate.not_after if entry else self.world.now + 30 * DAY
            self.auditor.audits.setdefault(task, []).append(AuditFinding(check=check, certificate_id=name, ends=ends))

    def tell(self, *tasks: str) -> None:
        """Deliver messages, as SQS hands them to the function."""
        for body in (json.dumps({"taskId": task}) for task in tasks or (TASK,)):
            self.deliver(body)

    def deliver(self, body: object) -> None:
        """Deliver one message of any content."""
        audits.hear({"Records": [{"body": body}]}, self.world.account, self.auditor, lambda: self.left)

    def ordered(self) -> list[str]:
        """Return the things that are ordered to rotate, as often as they are."""
        return sorted(thing for order in self.world.registry.jobs.values() for thing in order.things)

    def reasons(self) -> dict[str, int]:
        """Return why findings were left, and how many."""
        told = [
            (str(about[REASON]), value)
            for name, value, about in self.world.outbox.counted
            if name is Metric.FINDINGS_LEFT
        ]
        return {why: sum(value for reason, value in told if reason == why) for why, _ in told}


def test_what_is_due_is_ordered_and_counted_once() -> None:
    """However often the audit is told, also when the job is over."""
    here = Audited()
    here.find(*(here.gateway(f"{number:04}") for number in range(3)))
    here.tell(TASK, TASK)
    assert here.ordered() == ["gw-0000", "gw-0001", "gw-0002"]
    assert here.reasons() == {Left.WAITS: 3}
    here.world.registry.working.clear()
    here.tell()
    assert here.ordered() == ["gw-0000", "gw-0001", "gw-0002"]
    assert here.reasons() == {Left.WAITS: 3, Left.ORDERED: 3}
    assert here.world.counts(Metric.ROTATIONS_ORDERED) == 3
    assert all(TASK in order.reason for order in here.world.registry.jobs.values())


def test_a_late_message_orders_nothing_for_what_has_rotated_meanwhile() -> None:
    """The old certificate is in its grace, and found still."""
    here = Audited()
    old = here.gateway("0001")
    here.find(old)
    here.world.rotated(old)
    here.tell()
    assert here.ordered() == []
    assert here.reasons() == {Left.REPLACED: 1}


@pytest.mark.parametrize("order", list(permutations(["monday", "tuesday", "tuesday"])))
def test_audits_in_any_order_make_one_order_for_each_thing(order: tuple[str, ...]) -> None:
    """A thing for which a job waits gets no other one."""
    here = Audited()
    first, second = here.gateway("0001"), here.gateway("0002")
    here.find(first, task="monday")
    here.find(first, second, task="tuesday")
    here.tell(*order)
    assert here.ordered() == ["gw-0001", "gw-0002"]


def test_one_certificate_in_two_checks_is_one_order() -> None:
    """It is too old and near its end."""
    here = Audited()
    made = here.gateway("0001")
    here.find(made)
    here.find(made, check=Check.AGE)
    here.tell()
    assert here.ordered() == ["gw-0001"]
    assert here.world.counts(Metric.ROTATIONS_ORDERED) == 1


def test_a_thousand_certificates_of_a_day_make_no_job_and_no_request() -> None:
    """They are found every day of their lives."""
    here = Audited()
    here.find(*(here.gateway(f"{number:04}", age=20 * HOUR, life=DAY) for number in range(1000)))
    here.world.verbs.clear()
    here.tell()
    assert here.ordered() == []
    assert here.reasons() == {Left.RENEWS: 1000}
    assert set(here.world.verbs) == {"record", "count"}


def test_one_audit_orders_so_many_and_the_next_one_goes_on() -> None:
    """The nearest end first."""
    here = Audited()
    late = [here.gateway(f"{number:04}", age=84 * DAY) for number in range(MOST_DUE)]
    urgent = here.gateway("9999", age=86 * DAY)
    here.find(*late, urgent)
    here.tell()
    assert len(here.ordered()) == MOST_DUE
    assert "gw-9999" in here.ordered()
    assert here.reasons() == {Left.LATER: 1}
    here.find(*late, urgent, task="next")
    here.tell("next")
    assert len(here.ordered()) == len(set(here.ordered())) == MOST_DUE + 1


def test_a_function_whose_time_is_up_orders_what_it_has_looked_at() -> None:
    """The rest is the next audit's."""
    here = Audited()
    here.find(here.gateway("0001"))
    here.left = audits.RESERVE - timedelta(seconds=1)
    here.tell()
    assert (here.ordered(), here.reasons()) == ([], {Left.LATER: 1})


@pytest.mark.parametrize("step", range(1, 13))
def test_a_function_that_dies_anywhere_is_made_good_by_the_same_message(step: int) -> None:
    """Every step fails once; then the queue delivers again."""
    here = Audited()
    here.find(here.gateway("0001"), here.gateway("0002"))
    here.world.at_each_step = here.world.failing(step)
    with pytest.raises(UnavailableError):
        here.tell()
    here.world.at_each_step = lambda _: None
    here.tell()
    assert here.ordered() == ["gw-0001", "gw-0002"]


@pytest.mark.parametrize(
    "body",
    ["", "{}", "[]", "nonsense", "[" * 100_000, None, 7, '{"taskId": "../x"}', '{"taskId": 7}', '{"Message": "[]"}'],
)
def test_a_message_that_names_no_audit_is_counted_and_dropped(body: object) -> None:
    """It would come again for ever."""
    here = Audited()
    here.find(here.gateway("0001"))
    here.deliver(body)
    assert here.ordered() == []
    assert here.reasons() == {"The message names no audit.": 1}


@pytest.mark.parametrize("details", [[{"checkName": "any"}], {"checkName": "any"}, None])
def test_a_message_in_an_envelope_or_without_one(details: object) -> None:
    """Nothing of it but the audit's name is believed."""
    message = json.dumps({"taskId": TASK, "auditDetails": details, "accountId": "999999999999"})
    for body in (message, json.dumps({"Type": "Notification", "Message": message})):
        here = Audited()
        here.find(here.gateway("0001"))
        here.deliver(body)
        assert here.ordered() == ["gw-0001"]


def test_an_event_without_records_is_nothing() -> None:
    """As Lambda's own test event is."""
    here = Audited()
    for event in ({}, {"Records": None}, {"Records": [None]}):
        audits.hear(event, here.world.account, here.auditor, lambda: here.left)
    assert here.ordered() == []


def test_nothing_is_ever_deactivated() -> None:
    """Whatever is found."""
    here = Audited()
    made = here.gateway("0001"), here.gateway("0002", age=91 * DAY)
    here.find(*made)
    here.find(*made, check=Check.AGE)
    here.tell()
    assert {here.world.status(name) for name in made} == {Status.ACTIVE}
    assert set(here.world.verbs) <= {*_READS, "order", "count", *_BEFORE}


_READS = {"signer", "record", "device", "certificate", "things_of", "certificates_of", "report", "orders_of"}
_BEFORE = {"save_device", "save_record"}  # by the enrolments


def test_a_blocked_gateway_and_one_of_another_stack_are_left() -> None:
    """An order would be refused by the hook, or be some other program's to take."""
    here = Audited()
    blocked, foreign = here.gateway("0001"), here.gateway("0002")
    here.world.block("0001")
    del here.world.store.records[foreign]
    here.find(blocked, foreign, certificate_id("gone"))
    here.tell()
    assert here.ordered() == []
    assert here.reasons() == {Left.BLOCKED: 1, Left.NO_GATEWAY: 1, Left.NOT_IN_USE: 1}


# -- a CA that expires ---------------------------------------------------------------------------------------------


def resting(settings: StackSettings, things: int = 2) -> Audited:
    """Gateways whose certificates were signed by a CA that expires in ten days."""
    here = Audited(settings)
    signed = [here.gateway(f"{number:04}", age=DAY, life=3650 * DAY) for number in range(things)]
    here.auditor.signed[CA] = signed
    here.auditor.audits[TASK] = [
        AuditFinding(check=Check.CA_EXPIRING, certificate_id=CA, ends=here.world.now + 10 * DAY)
    ]
    return here


def told_of(here: Audited) -> list[str]:
    """Return the things that the operator was told of."""
    lines = [about["things"] for name, _, about in here.world.outbox.counted if name is Metric.CA_EXPIRING]
    return [thing for line in lines for thing in line]  # type: ignore[attr-defined]


@pytest.mark.parametrize("signer", ["", CA])
def test_without_another_signer_what_rests_on_a_ca_is_listed_and_not_rotated(signer: str) -> None:
    """A rotation would make certificates of another trust, or of the same CA again."""
    here = resting(replace(SETTINGS, provider_ca=signer), things=250)
    here.tell()
    assert here.ordered() == []
    assert sorted(told_of(here)) == [f"gw-{number:04}" for number in range(250)]
    assert here.world.counts(Metric.CA_EXPIRING) == 1


def test_with_another_signer_what_rests_on_a_ca_is_ordered_to_rotate() -> None:
    """But for what renews by itself before the CA ends."""
    here = resting(replace(SETTINGS, provider_ca=SIGNER))
    here.world.registry.shadows["gw-0000"] = here.auditor.signed[CA][0]
    here.world.registry.renewals["gw-0000"] = here.world.now + DAY
    here.tell(TASK, TASK)
    assert here.ordered() == ["gw-0001"]
    assert here.reasons()[Left.RENEWS] == 2


def test_a_message_that_comes_again_makes_the_jobs_that_were_not_made() -> None:
    """What was ordered has rotated and retired meanwhile, so less is found; each order is counted once."""
    here = resting(replace(SETTINGS, provider_ca=SIGNER), things=60)
    orders: list[str] = []

    def fail(verb: str) -> None:
        orders.extend([verb] if verb == "order" else [])
        if verb == "order" and len(orders) > 8:
            raise UnavailableError(verb)

    here.world.at_each_step = fail
    with pytest.raises(UnavailableError):
        here.tell()
    here.world.at_each_step = lambda _: None
    first = here.ordered()
    assert 0 < len(first) == here.world.counts(Metric.ROTATIONS_ORDERED) < 60
    for thing in first:
        (old,) = here.world.active(thing)
        here.world.retire(here.world.rotated(old), old, thing)
        here.world.registry.working[thing].clear()
    here.auditor.signed[CA] = [name for name in here.auditor.signed[CA] if here.world.status(name) is Status.ACTIVE]
    here.tell()
    assert here.ordered() == [f"gw-{number:04}" for number in range(60)]
    assert here.world.counts(Metric.ROTATIONS_ORDERED) == 60
    assert here.reasons() == {}


def own(number: int, signs_from: timedelta, ca_id: str) -> SigningCa:
    """Return a CA of the stack's own, by when it signs."""
    begin = NOW + signs_from
    return SigningCa(number=number, ca_id=ca_id, pem="", key="", signs_from=begin, ends=begin + 3650 * DAY)


@pytest.mark.parametrize(
    ("cas", "on", "orders"),
    [
        ([own(1, -DAY, CA)], True, 0),  # rotating would give certificates of the same CA
        ([own(1, -9 * DAY, CA), own(2, DAY, SIGNER)], True, 0),  # not yet: tomorrow's audit orders it
        ([own(1, -9 * DAY, CA), own(2, -DAY, SIGNER)], True, 2),
        ([own(2, -DAY, SIGNER)], False, 0),  # AWS signs
    ],
)
def test_the_stacks_own_signer_is_known_without_a_parameter(cas: list[SigningCa], on: bool, orders: int) -> None:  # noqa: FBT001 - a column
    """What rests on a CA that expires is ordered to rotate once another one signs."""
    here = resting(SETTINGS)
    here.world.store.save_signer(Signer(cas=tuple(cas), on=on))
    here.tell()
    assert len(here.ordered()) == orders


def test_a_ca_on_which_nothing_rests_is_told_too() -> None:
    """Its end is an end of joining."""
    here = resting(SETTINGS, things=0)
    here.tell()
    assert here.world.counts(Metric.CA_EXPIRING) == 1


def test_a_ca_that_the_operator_does_not_want_to_hear_of() -> None:
    """Nothing is read for it."""
    here = resting(replace(SETTINGS, provider_ca=SIGNER))
    here.auditor.audits[TASK] = [replace(item, suppressed=True) for item in here.auditor.audits[TASK]]
    here.tell()
    assert (here.ordered(), here.world.outbox.counted[2:]) == ([], [])
