"""The topics that the agent uses: for its certificates, and by thing for jobs, the shadow and retirements.

Sources: "Device provisioning MQTT API", "Jobs device MQTT API operations" and "Device Shadow MQTT topics", developer
guide; the retirement topics are the agent's own contract with the cloud side.
"""

from __future__ import annotations

CREATE = "$aws/certificates/create-from-csr/json"  # CreateCertificateFromCsr
SHADOW = "certificate"  # the name of the gateway's named shadow

# How the message ends by which the account refuses to retire what is none of the thing's: not there, or another's.
NONE_SUCH = " has no such certificate."


def needed(thing: str, template: str, *, retires: bool = True) -> tuple[str, ...]:
    """Return every topic that a gateway must be allowed to subscribe to; a missing one shows before it hurts.

    Args:
        thing: The thing.
        template: The template that registers its certificates.
        retires: Whether it asks for what it left behind to be deactivated.
    """
    requests = (
        CREATE,
        provision(template),
        jobs_pending(thing),
        shadow_get(thing),
        shadow_update(thing),
        *([retire(thing)] if retires else []),
    )
    heard = (jobs_changed(thing), shadow_documents(thing))
    return (*(topic for request in requests for topic in answers(request)), *heard)


def answers(topic: str) -> tuple[str, str]:
    """Return where a request to `topic` is answered: accepted, rejected."""
    return f"{topic}/accepted", f"{topic}/rejected"


def provision(template: str) -> str:
    """RegisterThing."""
    return f"$aws/provisioning-templates/{template}/provision/json"


def jobs_pending(thing: str) -> str:
    """GetPendingJobExecutions."""
    return f"$aws/things/{thing}/jobs/get"


def jobs_changed(thing: str) -> str:
    """The list of pending executions has changed."""
    return f"$aws/things/{thing}/jobs/notify"


def job(thing: str, job_id: str) -> str:
    """DescribeJobExecution."""
    return f"$aws/things/{thing}/jobs/{job_id}/get"


def job_update(thing: str, job_id: str) -> str:
    """UpdateJobExecution."""
    return f"$aws/things/{thing}/jobs/{job_id}/update"


def shadow_get(thing: str) -> str:
    """GetThingShadow of the shadow `certificate`."""
    return f"$aws/things/{thing}/shadow/name/{SHADOW}/get"


def shadow_update(thing: str) -> str:
    """UpdateThingShadow of the shadow `certificate`."""
    return f"$aws/things/{thing}/shadow/name/{SHADOW}/update"


def shadow_documents(thing: str) -> str:
    """The whole shadow, before and after each update."""
    return f"{shadow_update(thing)}/documents"


def retire(thing: str) -> str:
    """Ask for a certificate to be deactivated; see `agent.core.when.retirement`."""
    return f"iot-cert-agent/{thing}/retire"
