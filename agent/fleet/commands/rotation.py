"""`rotate`: order gateways to rotate, by jobs, or by their shadows where another program takes the jobs."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from agent.backend.decide.orders import JobPlan, job_targets
from agent.core.exit_codes import Exit
from agent.core.text import counted
from agent.fleet.certificates import job_target
from agent.fleet.decide import rotation
from agent.fleet.errors import UsageError

if TYPE_CHECKING:
    from agent.backend.decide.orders import Pace
    from agent.fleet.task import OperatorTask

_AT_ONCE = timedelta(hours=1)  # the window of a wish that names none: the gateways choose their places in it


def rotate(task: OperatorTask) -> Exit:
    """Order things, those of a group, or those that a query finds."""
    given = task.arguments
    if sum((bool(given.things), given.group is not None, given.query is not None)) != 1:
        raise UsageError("Name things, or a --group, or a --query; one of the three.")
    by_job = given.by == "job"
    if given.group is not None and not by_job:
        raise UsageError("A shadow is a thing's: name things, or a --query.")
    try:
        pace = rotation.pace_of(given.per_minute, given.abort_percent, given.abort_after)
        window = rotation.window_of(given.window, task.now, by_job=by_job) if given.window else None
    except ValueError as error:
        raise UsageError(f"{error} Nothing was ordered.") from None
    if given.group is not None:
        return _order_group(task, pace, window)
    plan = _plan(task, pace)
    if not by_job:
        return _wish(task, plan, window or rotation.Window(opens_at=task.now, closes_at=task.now + _AT_ONCE))
    return _order(task, plan, window)


def _order_group(task: OperatorTask, pace: Pace, window: rotation.Window | None) -> Exit:
    group = task.arguments.group
    if not task.fleet.is_group(group):
        raise UsageError(f"There is no thing group {group}. Nothing was ordered.")
    order = rotation.of_group(group, _task_of(task), task.arguments.reason, pace)
    if not task.arguments.dry_run:
        task.confirm(f"Every gateway of the group {group} is ordered to rotate.", group)
    return _order(task, JobPlan(orders=(order,), skipped={}), window, group)


def _plan(task: OperatorTask, pace: Pace) -> JobPlan:
    names = sorted(set(task.arguments.things)) or _searched(task)
    things = task.watched(names, "Things looked at", len(names))
    targets = (job_target(thing, task.fleet.registry) for thing in things)
    return job_targets(targets, _task_of(task), task.arguments.reason, pace)


def _searched(task: OperatorTask) -> list[str]:
    most = rotation.MOST_SEARCHED
    found = [thing.name for thing in islice(task.fleet.search(task.arguments.query), most + 1)]
    if len(found) > most:
        raise UsageError(
            f"The query finds more than {most} things. Nothing was ordered.",
            hint="Make a group of them (aws iot create-dynamic-thing-group --query-string QUERY) and use --group.",
        )
    return found


def _task_of(task: OperatorTask) -> str:
    """Return what tells this order from another: the reason and the day, so that a repeated command orders once."""
    return f"{task.arguments.reason} {task.now:%Y-%m-%d}"


def _order(task: OperatorTask, plan: JobPlan, window: rotation.Window | None, group: str = "") -> Exit:
    dry = task.arguments.dry_run
    _tell_skipped(task, plan)
    for order in plan.orders:
        request = rotation.job(order, task.fleet.stack.iot_arn, window, group)
        new = not dry and task.fleet.order(request)
        what = f"group {group}" if group else counted(len(order.things), "gateway")
        told = {"job": order.job_id, "things": list(order.things), "group": group or None}
        done = "Would be ordered" if dry else "Ordered" if new else "Ordered before, and unchanged"
        task.output.tell({**told, "ordered": new, "dry_run": dry}, f"{done}, {what}: {order.job_id}")
    if plan.orders and not dry:
        first = plan.orders[0].job_id
        task.show(
            ["", f"How it goes: aws iot describe-job --job-id {first}", "To stop it: aws iot cancel-job --job-id"]
        )
    return _exit(task, plan)


def _wish(task: OperatorTask, plan: JobPlan, window: rotation.Window) -> Exit:
    _tell_skipped(task, plan)
    dry, things = task.arguments.dry_run, [thing for order in plan.orders for thing in order.things]
    for thing in task.watched(things, "Shadows written", len(things)):
        if not dry:
            task.fleet.wish(thing, rotation.wish(window))
        task.output.tell({"thing": thing, **rotation.wish(window), "ordered": not dry, "dry_run": dry})
    if things:
        verb = "would wish" if dry else "wishes" if len(things) == 1 else "wish"
        until = f"{window.closes_at:%Y-%m-%d %H:%M} UTC"
        task.show([f"{counted(len(things), 'shadow')} {verb} for a renewal until {until}."])
    return _exit(task, plan)


def _tell_skipped(task: OperatorTask, plan: JobPlan) -> None:
    for thing, why in plan.skipped.items():
        task.output.tell({"thing": thing, "ordered": False, "why": why}, f"{thing} is left out. {why}")


def _exit(task: OperatorTask, plan: JobPlan) -> Exit:
    if not plan.orders and not plan.skipped:
        task.output.nothing("The query finds nothing. Nothing was ordered.", Exit.DEGRADED)
        return Exit.DEGRADED
    return Exit.DEGRADED if plan.skipped else Exit.DONE
