"""What the tests of a fleet's verbs share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.unit.own_ca import FUNCTION, Provider

if TYPE_CHECKING:
    from support.aws.fleet_account import Operator


@pytest.fixture(name="signing")
def _signing(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator whose stack has a signer, in an account with the same clock."""
    monkeypatch.setattr("moto.kms.models.unix_time", operator.now.timestamp)
    operator.deploy(outputs={"SignerFunction": FUNCTION}, Signer="on", LifetimeHours="24")
    operator.answers("ListCertificatesByCA", {"certificates": []})
    operator.typed = "ca"
    return operator


@pytest.fixture(name="provider")
def _provider(signing: Operator) -> Provider:
    return Provider(signing)
