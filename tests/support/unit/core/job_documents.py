"""Documents and messages of jobs."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from typing import Any

from agent.core.jsonio import Node
from agent.core.report.jobs import MARK, Execution, JobAnswer

# "statusDetails" of JobExecutionState (API reference): names, and values without control characters of 1 to 1024.
DETAIL_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
# CancelJobExecution (API reference): "You can specify at most 10 name/value pairs."
MAX_DETAILS = 10

ORDER = "job:j-1:2"
WINDOW = {"opens_at": "2027-03-02T12:00:00Z", "closes_at": "2027-03-04T13:00:00+01:00"}
DOCUMENT = {"operation": "rotate-certificate", "reason": "new authority", "window": WINDOW, "agent": MARK}


def data(plain: object) -> bytes:
    """Return a message of the cloud."""
    return json.dumps(plain).encode()


def summary(job_id: object = "j-1", **changes: object) -> dict[str, object]:
    """Return an execution as a list of pending ones holds it."""
    return {"jobId": job_id, "executionNumber": 2, "versionNumber": 3, "queuedAt": 1_800_000_000, **changes}


def execution(document: object = None, **changes: Any) -> Execution:
    """Return an execution with a document."""
    node = Node(document, "the job: execution: jobDocument") if document is not None else None
    return replace(Execution(job_id="j-1", number=2, version=3, document=node), **changes)


def is_allowed(answer: JobAnswer) -> bool:
    """Whether AWS takes the answer's details; no character of a value may be of a class that begins with C."""
    return len(answer.details) <= MAX_DETAILS and all(
        DETAIL_NAME.fullmatch(name)
        and 1 <= len(value) <= 1024
        and not any(unicodedata.category(char).startswith("C") for char in value)
        for name, value in answer.details.items()
    )
