from __future__ import annotations

import json

from agent.backend.metrics import line
from agent.backend.names import NAMESPACE, Metric
from support.aws.account import NOW


def test_a_line_is_what_cloudwatch_makes_a_metric_of() -> None:
    """One line; the dimension and the value stand at its top, where the specification has them."""
    text = line(Metric.ROTATIONS, 2, "fleet", NOW, {"reason": "one\ntwo", "Stack": "another", "Rotations": 7})
    assert "\n" not in text
    assert json.loads(text) == {
        "reason": "one\ntwo",
        "Stack": "fleet",
        "Rotations": 2,
        "_aws": {
            "Timestamp": int(NOW.timestamp() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [["Stack"]],
                    "Metrics": [{"Name": "Rotations", "Unit": "Count"}],
                }
            ],
        },
    }
