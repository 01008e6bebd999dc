from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.x509 import load_pem_x509_certificate

from agent.sandbox.account.policies import THING_NAME, Policy, PolicyAction
from agent.sandbox.account.registry import CertificateRegistry, Entry
from agent.sandbox.cloud import Cloud, Status

if TYPE_CHECKING:
    from agent.sandbox.account.authority import KeyPair

NOW = datetime(2027, 3, 1, 12, 0, tzinfo=UTC)
THING = "gw-0042"


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    return Cloud(lambda: NOW)


def attached(cloud: Cloud, *, exclusive: bool) -> Entry:
    """Return an active certificate of a thing, with a policy that names the thing by its variable alone."""
    pair: KeyPair = cloud.authority.issue_claim(NOW)
    entry = cloud.registry.add(load_pem_x509_certificate(pair.certificate_pem), Status.ACTIVE)
    entry.thing_name, entry.exclusive = THING, exclusive
    entry.policies = ["test"]
    cloud.registry.documents["test"] = Policy(
        connect=("*",), publish=(f"gateways/{THING_NAME}/*",), subscribe=(f"$aws/things/{THING_NAME}/jobs/*",)
    )
    return entry


@pytest.mark.parametrize(
    ("client_id", "exclusive", "resolves"),
    [
        (THING, True, True),
        (THING, False, True),
        (f"{THING}-cert-agent", True, True),
        (f"{THING}-cert-agent", False, False),
        ("GW-0042", False, False),
        ("gw-0043", False, False),
    ],
)
def test_a_thing_name_resolves_for_its_client_id_or_an_exclusive_certificate(
    cloud: Cloud, client_id: str, *, exclusive: bool, resolves: bool
) -> None:
    """As on AWS; what does not name the thing is not touched by it."""
    entry = attached(cloud, exclusive=exclusive)
    assert cloud.may(entry, client_id, PolicyAction.PUBLISH, f"gateways/{THING}/data") is resolves
    assert cloud.may(entry, client_id, PolicyAction.SUBSCRIBE, f"$aws/things/{THING}/jobs/notify") is resolves
    assert cloud.may(entry, client_id, PolicyAction.CONNECT, client_id)
    assert not cloud.may(entry, client_id, PolicyAction.PUBLISH, "gateways/gw-0043/data")


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_certificate_without_a_thing_has_no_thing_name(cloud: Cloud, *, exclusive: bool) -> None:
    """Also not that of a thing whose name the client id is."""
    entry = attached(cloud, exclusive=exclusive)
    entry.thing_name = None
    assert not cloud.may(entry, THING, PolicyAction.PUBLISH, f"gateways/{THING}/data")


def test_a_policy_allows_nothing_before_it_has_spread() -> None:
    """Then all that it says."""
    time = NOW
    cloud = Cloud(lambda: NOW)
    registry = CertificateRegistry(lambda: time, cloud.registry.documents)
    entry = attached(cloud, exclusive=True)
    registry.documents.update(cloud.registry.documents)
    entry.policy_from = NOW + timedelta(minutes=7)
    assert not registry.allows(entry, THING, PolicyAction.CONNECT, THING)
    time += timedelta(minutes=7)
    assert registry.allows(entry, THING, PolicyAction.CONNECT, THING)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_template_decides_how_certificates_are_attached(cloud: Cloud, *, exclusive: bool) -> None:
    """The gateway's agent, with a client id of its own, can only work with an exclusive one."""
    templates = cloud.provisioning.templates
    templates["gateway"] = replace(templates["gateway"], exclusive=exclusive)
    entry = attached(cloud, exclusive=not exclusive)
    entry.status, entry.policies, entry.token = Status.PENDING_ACTIVATION, [], "token"
    claim = next(iter(cloud.registry.values()))
    parameters = {"SerialNumber": "0042", "RegistrationToken": cloud.stack.arm("0042")}
    body = {"certificateOwnershipToken": "token", "parameters": parameters}

    cloud.provisioning.register(claim, "gateway", body, None)

    assert (entry.status, entry.thing_name, entry.exclusive) == (Status.ACTIVE, THING, exclusive)
    assert cloud.may(entry, THING, PolicyAction.CONNECT, THING)
    agent = f"{THING}-cert-agent"
    assert cloud.may(entry, agent, PolicyAction.CONNECT, agent) is exclusive
