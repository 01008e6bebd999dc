"""The topics, as the developer guide and the agent's contract with the cloud side write them."""

from __future__ import annotations

import pytest

from agent.core.aws import topics

THING = "gw-7"


def test_each_topic_is_as_documented() -> None:
    """Letter by letter, in "Jobs device MQTT API operations" and "Device Shadow MQTT topics"."""
    assert topics.jobs_pending(THING) == "$aws/things/gw-7/jobs/get"
    assert topics.jobs_changed(THING) == "$aws/things/gw-7/jobs/notify"
    assert topics.job(THING, "job-1") == "$aws/things/gw-7/jobs/job-1/get"
    assert topics.job_update(THING, "job-1") == "$aws/things/gw-7/jobs/job-1/update"
    assert topics.shadow_get(THING) == "$aws/things/gw-7/shadow/name/certificate/get"
    assert topics.shadow_update(THING) == "$aws/things/gw-7/shadow/name/certificate/update"
    assert topics.shadow_documents(THING) == "$aws/things/gw-7/shadow/name/certificate/update/documents"
    assert topics.retire(THING) == "iot-cert-agent/gw-7/retire"
    assert topics.answers("a/b") == ("a/b/accepted", "a/b/rejected")


@pytest.mark.parametrize("retires", [True, False])
def test_what_must_be_subscribed_to_is_what_requests_are_answered_on(*, retires: bool) -> None:
    """Of provisioning with the template, jobs, the shadow and, where it is asked for, retirement; none twice."""
    needed = topics.needed(THING, "rotation", retires=retires)
    assert len(set(needed)) == len(needed) == (14 if retires else 12)
    assert {"$aws/certificates/create-from-csr/json/accepted", "$aws/things/gw-7/jobs/notify"} <= set(needed)
    assert "$aws/provisioning-templates/rotation/provision/json/rejected" in needed
    assert ("iot-cert-agent/gw-7/retire/accepted" in needed) is retires
