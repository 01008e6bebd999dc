"""Which things are ordered to rotate, by jobs whose ids follow from what they are for: asked twice, made once."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from agent.backend.decide.verdict import is_name
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.backend.values import Certificate

JOB_PREFIX = "iot-cert-rotate-"
MOST_TARGETS = 100  # things of one job (AWS IoT Core quotas)
# As in the stack's job template: a gateway that refuses the document, or hangs over it, is no success either.
_FAILURES = ("FAILED", "REJECTED", "TIMED_OUT")
_LONGEST = 10_080  # minutes, the most that AWS takes: the gateway ends its probation by itself
_DIGITS = 32  # of the hash in a job's id, which has 64 characters at most


@frozen
class Pace:
    """How fast a job is rolled out, and when it stops by itself.

    Attributes:
        per_minute: Things that are notified in a minute, 1 to 1000.
        abort_percent: The share of things that may fail before the rest is not notified any more.
        abort_after: The number of things that must have ended before that share is looked at.
    """

    per_minute: int = 50
    abort_percent: float = 10.0
    abort_after: int = 5


@frozen
class JobOrder:
    """One job.

    Attributes:
        job_id: Its id.
        things: Its targets.
        reason: Why, as the gateways are told.
        pace: How it is rolled out.
    """

    job_id: str
    things: tuple[str, ...]
    reason: str
    pace: Pace = Pace()

    @property
    def document(self) -> dict[str, str]:
        """What the gateways are sent."""
        return {"operation": "rotate-certificate", "agent": "iot-cert-agent", "reason": self.reason}

    def request(self, targets: list[str]) -> dict[str, Any]:
        """Return the request for the job (CreateJob) that begins at once.

        Args:
            targets: The ARNs of its things, or of a thing group.
        """
        criteria = [
            {
                "failureType": failure,
                "action": "CANCEL",
                "thresholdPercentage": self.pace.abort_percent,
                "minNumberOfExecutedThings": self.pace.abort_after,
            }
            for failure in _FAILURES
        ]
        return {
            "jobId": self.job_id,
            "targets": targets,
            "targetSelection": "SNAPSHOT",
            "document": json.dumps(self.document),
            "description": self.reason,
            "jobExecutionsRolloutConfig": {"maximumPerMinute": self.pace.per_minute},
            "abortConfig": {"criteriaList": criteria},
            "timeoutConfig": {"inProgressTimeoutInMinutes": _LONGEST},
        }


@frozen
class JobTarget:
    """A thing that may be ordered to rotate.

    Attributes:
        thing: The thing.
        certificates: What is attached to it; None when there is no such thing.
        jobs: The jobs that wait for it or that it works on.
    """

    thing: str
    certificates: tuple[Certificate, ...] | None
    jobs: tuple[str, ...] = ()


@frozen
class JobPlan:
    """What is to be ordered.

    Attributes:
        orders: The jobs.
        skipped: The things that get none, and why.
    """

    orders: tuple[JobOrder, ...]
    skipped: Mapping[str, str]


def job_id(task: str, things: Iterable[str]) -> str:
    """Return the id of the job that orders some things to rotate for a task: the same for the same, in any order."""
    text = "\0".join([task, *sorted(things)])
    return JOB_PREFIX + hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def job_targets(candidates: Iterable[JobTarget], task: str, reason: str, pace: Pace | None = None) -> JobPlan:
    """Decide which things are ordered to rotate.

    Args:
        candidates: The things.
        task: What tells this order from another one of the same things: a ticket, a finding, a day.
        reason: Why, as the gateways are told.
        pace: How the jobs are rolled out.
    """
    known = {candidate.thing: candidate for candidate in candidates}
    reasons = {thing: _against(known[thing]) for thing in sorted(known)}
    things = [thing for thing, why in reasons.items() if not why]
    groups = [tuple(things[start : start + MOST_TARGETS]) for start in range(0, len(things), MOST_TARGETS)]
    orders = (
        JobOrder(job_id=job_id(task, group), things=group, reason=reason, pace=pace or Pace()) for group in groups
    )
    return JobPlan(orders=tuple(orders), skipped={thing: why for thing, why in reasons.items() if why})


def _against(candidate: JobTarget) -> str:
    """Return why a thing is not ordered to rotate, or nothing."""
    if not is_name(candidate.thing) or candidate.certificates is None:
        return "There is no such thing."
    if not any(certificate.active for certificate in candidate.certificates):
        return "It has no active certificate, so it cannot connect and no job reaches it."
    waiting = [job for job in candidate.jobs if job.startswith(JOB_PREFIX)]
    if waiting:
        return f"The job {waiting[0]} orders it to rotate already."
    return ""
