from __future__ import annotations

from datetime import timedelta

import pytest

from agent.backend.decide.census import COUNTED, counts_as
from agent.backend.names import Metric
from agent.backend.values import Certificate, Status
from support.aws.account import NOW, certificate_id


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("days", [-1, 0, 30, 31, 90, 91, 365, 366, 5000])
def test_a_certificate_has_one_state_and_an_age_where_it_can_connect(status: Status, days: int) -> None:
    """Also one whose clock is ahead of the function's."""
    made = Certificate(certificate_id=certificate_id(1), status=status, created_at=NOW - timedelta(days=days))
    state, *age = counts_as(made, NOW)
    assert {state, *age} <= set(COUNTED)
    assert len(age) == (status is Status.ACTIVE)
    assert age in ([], [_age(days)])


def _age(days: int) -> Metric:
    named = ((30, Metric.UP_TO_30_DAYS), (90, Metric.UP_TO_90_DAYS), (365, Metric.UP_TO_365_DAYS))
    return next((metric for most, metric in named if days <= most), Metric.OLDER)
