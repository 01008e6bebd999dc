"""Each metric that the dashboard or an alarm shows is counted by the function that is named here, when that happens."""

from __future__ import annotations

import json
import traceback
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from agent.backend import lambdas, names
from agent.backend.decide import census, vending
from agent.backend.errors import BackendError, NotSignedError
from agent.backend.handlers import account, audits, hook, retirement, signing, sweep
from agent.backend.handlers import census as counting
from agent.backend.handlers import vending as selling
from agent.backend.memory import MemoryAuditor
from agent.backend.names import Metric
from agent.backend.values import AuditFinding, Check, Signer, Status
from agent.sandbox.account.own_ca import SandboxKeys, make_ca
from support.aws.account import DAY, SETTINGS, World, request
from support.aws.moto_account import emulated, signing_request
from support.aws.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable


def _enrolment(world: World) -> None:
    world.enrolled()


def _guess(world: World) -> None:
    world.arm()
    world.enrol(world.issue(), token="guessed")  # noqa: S106 - a wrong one


def _signed(world: World) -> None:
    """One request that is signed, and one that is none."""
    world.store.save_signer(Signer(cas=(make_ca(world.now),), on=True))
    for csr in (signing_request("gw-0042"), "none"):
        with suppress(NotSignedError):
            signing.sign({"certificateSigningRequest": csr}, world.account, SandboxKeys())


def _late(world: World) -> None:
    """The right token, which is spent."""
    world.registry.shadows["gw-0042"] = world.enrolled()
    world.enrol(world.issue())


def _hurry(world: World) -> None:
    world.arm()
    for number in range(vending.MOST_REQUESTS + 1):
        world.vend(request(number))


def _rotation(world: World) -> None:
    world.rotated(world.enrolled())


def _foreign_name(world: World) -> None:
    world.rotate(world.enrolled(), world.issue(), "gw-0001")


def _retirement(world: World) -> tuple[str, str]:
    old = world.enrolled()
    new = world.rotated(old)
    world.retire(new, old)
    return old, new


def _itself(world: World) -> None:
    old = world.enrolled()
    world.retire(old, old)


def _kept(world: World) -> tuple[str, str]:
    both = _retirement(world)
    world.now += SETTINGS.keep
    return both


def _deletion(world: World) -> None:
    _kept(world)
    world.swept()


def _rescue(world: World) -> None:
    old, _ = _kept(world)
    world.rescue(old)
    world.sweep()


def _last(world: World) -> None:
    """The thing has no other active certificate."""
    _, new = _kept(world)
    world.registry.set_status(new, Status.INACTIVE)
    world.sweep()


def _no_time(world: World) -> None:
    _kept(world)
    sweep.sweep(world.account, timedelta, lambda _: None)


def _count(world: World) -> None:
    for age in (400, 200, 60, 0):
        made = world.issue()
        world.registry.add(made, world.now - age * DAY, Status.ACTIVE)
    for status in (Status.INACTIVE, Status.REVOKED):
        world.registry.set_status(world.issue(), status)
    counting.census(world.account, lambda: True)


def _audit(world: World) -> None:
    """What is due, what is gone meanwhile, and a CA."""
    auditor, made, begin = MemoryAuditor(), world.enrolled(), world.now - 85 * DAY
    entry, ends = world.registry.entries[made], world.now + 5 * DAY
    entry.certificate = replace(entry.certificate, created_at=begin, not_before=begin, not_after=ends)
    world.store.records[made] = replace(world.store.records[made], issued_at=begin)
    found = ((Check.EXPIRING, made), (Check.EXPIRING, "ab" * 32), (Check.CA_EXPIRING, "ca" * 32))
    auditor.audits["a"] = [AuditFinding(check=check, certificate_id=name, ends=ends) for check, name in found]
    event = {"Records": [{"body": json.dumps({"taskId": "a"})}]}
    audits.hear(event, world.account, auditor, lambda: timedelta(minutes=15))


class Counted(NamedTuple):
    """Which module's function counts a metric, and what leads to that."""

    by: Any
    when: Callable[[World], object]


COUNTED = {
    Metric.ENROLMENTS: Counted(hook, _enrolment),
    Metric.ENROLMENTS_REFUSED: Counted(hook, _guess),
    Metric.RE_ENROLMENTS_REFUSED: Counted(hook, _late),
    Metric.VENDING_PUT_OFF: Counted(selling, _hurry),
    Metric.ROTATIONS: Counted(hook, _rotation),
    Metric.ROTATIONS_REFUSED: Counted(hook, _foreign_name),
    Metric.RETIREMENTS: Counted(retirement, _retirement),
    Metric.RETIREMENTS_REFUSED: Counted(retirement, _itself),
    Metric.DELETED: Counted(sweep, _deletion),
    Metric.RESCUED: Counted(sweep, _rescue),
    Metric.KEPT: Counted(sweep, _last),
    Metric.OVERDUE: Counted(sweep, _no_time),
    **dict.fromkeys((Metric.ROTATIONS_ORDERED, Metric.FINDINGS_LEFT, Metric.CA_EXPIRING), Counted(audits, _audit)),
    **dict.fromkeys((Metric.SIGNED, Metric.SIGNING_REFUSED), Counted(signing, _signed)),
    **{metric: Counted(counting, _count) for metric in census.COUNTED},
}


_HANDLERS = "agent.backend.handlers."


@pytest.mark.parametrize("metric", COUNTED)
def test_the_function_that_is_named_counts_it(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no other one in the same story."""
    world, by = World(), set[str]()

    def note(what: Metric, *, value: int = 1, about: object = None) -> None:
        del about
        if what is metric and value:
            callers = (frame.f_globals["__name__"] for frame, _ in traceback.walk_stack(None))
            by.add(next(name for name in callers if name.startswith(_HANDLERS) and name != account.__name__))

    monkeypatch.setattr(world.outbox, "count", note)
    COUNTED[metric].when(world)
    assert by == {COUNTED[metric].by.__name__}


def test_a_fault_is_counted_by_whichever_function_meets_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Here the hook, in an account without the stack's tables."""
    lambdas.account.cache_clear()
    event = {"templateArn": "x/gateway", "certificateId": "ab" * 32, "parameters": {"SerialNumber": "1"}}
    with emulated(), pytest.raises(BackendError):
        lambdas.hook(event, None)
    lambdas.account.cache_clear()
    assert json.loads(capsys.readouterr().out)[Metric.FAULTS] == 1


def test_whatever_is_shown_is_counted_by_a_function_that_is_named_here() -> None:
    """AWS's own metrics besides: of Lambda, and of the queue."""
    shown = {metric for namespace, metric in _shown(Stack(given={"Vending": "on"})) if namespace == names.NAMESPACE}
    assert shown == {str(metric) for metric in COUNTED} | {str(Metric.FAULTS)}


def _shown(stack: Stack) -> set[tuple[str, str]]:
    alarms = {(item["Namespace"], item["MetricName"]) for item in stack.of_type("AWS::CloudWatch::Alarm").values()}
    widgets = json.loads(stack.resources["Dashboard"]["Properties"]["DashboardBody"])["widgets"]
    drawn = {(metric[0], metric[1]) for widget in widgets for metric in widget["properties"].get("metrics", ())}
    return alarms | drawn
