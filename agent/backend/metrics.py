"""What the functions count, as lines of their log from which CloudWatch makes metrics.

Source: "Embedded metric format specification", Amazon CloudWatch user guide. What a count was about stands beside it as
properties of the same line, for Logs Insights. It is no dimension: each value of one is another metric to pay for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent.backend.names import NAMESPACE, STACK_DIMENSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from agent.backend.names import Metric


def line(metric: Metric, value: int, stack: str, at: datetime, about: Mapping[str, object]) -> str:
    """Return one line of a function's log.

    Args:
        metric: What is counted.
        value: How many.
        stack: The stack's prefix.
        at: When.
        about: What it was about.
    """
    described = {
        "Namespace": NAMESPACE,
        "Dimensions": [[STACK_DIMENSION]],
        "Metrics": [{"Name": str(metric), "Unit": "Count"}],
    }
    told = {
        **about,
        STACK_DIMENSION: stack,
        str(metric): value,
        "_aws": {"Timestamp": int(at.timestamp() * 1000), "CloudWatchMetrics": [described]},
    }
    return json.dumps(told, separators=(",", ":"))
