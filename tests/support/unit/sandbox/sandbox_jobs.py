"""A gateway that has jobs in the sandbox."""

from __future__ import annotations

from typing import Any

from support.unit.sandbox.sandbox_gateway import NOON, THING, SandboxGateway

JOBS = f"$aws/things/{THING}/jobs"
ROTATE = {"operation": "rotate-certificate"}


class JobGateway(SandboxGateway):
    """A gateway that asks for its jobs."""

    topic = JOBS

    def refusal(self, path: str, **request: Any) -> str:
        """Ask, and return the code of the refusal."""
        verdict, body = self.ask(path, **request)
        assert verdict == "rejected"
        assert body["message"]
        return str(body["code"])


def summary(job_id: str, **changes: Any) -> dict[str, Any]:
    """Return the summary of a job that was queued at the start."""
    base = {"jobId": job_id, "queuedAt": NOON, "lastUpdatedAt": NOON, "versionNumber": 1, "executionNumber": 1}
    return base | changes
