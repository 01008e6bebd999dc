from __future__ import annotations

import json
from typing import TYPE_CHECKING

from moto.core import DEFAULT_ACCOUNT_ID
from moto.iotdata import iotdata_backends

from agent.backend.names import Metric
from support.aws.moto_account import REGION

if TYPE_CHECKING:
    import pytest

    from support.aws.moto_account import AwsWorld


def test_an_answer_is_published(world: AwsWorld) -> None:
    """As JSON, on its topic."""
    world.outbox.answer("iot-cert-agent/gw-0042/retire/accepted", {"certificateId": "abc"})
    ((topic, payload),) = iotdata_backends[DEFAULT_ACCOUNT_ID][REGION].published_payloads
    assert topic == "iot-cert-agent/gw-0042/retire/accepted"
    assert json.loads(payload) == {"certificateId": "abc"}


def test_a_count_is_a_line_of_the_log(world: AwsWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """Each by itself, so that CloudWatch reads both."""
    world.outbox.count(Metric.DELETED, value=3, about={"reason": "why"})
    world.outbox.count(Metric.KEPT)
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["CertificatesDeleted"], first["reason"], first["Stack"]) == (3, "why", "fleet")
    assert second["DeletionsPutOff"] == 1
