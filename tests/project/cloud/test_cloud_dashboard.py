"""What an operator of the stack is shown: each metric that is counted, in alarms and on a dashboard."""

from __future__ import annotations

import json

from agent.backend import names
from support.aws.stack import LONGEST_PREFIX, Stack


def shown(stack: Stack) -> list[tuple[str, str, dict[str, str]]]:
    """Return namespace, name and dimensions of each metric of an alarm or a widget."""
    found = [
        (alarm["Namespace"], alarm["MetricName"], {item["Name"]: item["Value"] for item in alarm["Dimensions"]})
        for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()
    ]
    for widget in json.loads(stack.resources["Dashboard"]["Properties"]["DashboardBody"])["widgets"]:
        for namespace, name, *dimensions in widget["properties"].get("metrics", []):
            pairs = [item for item in dimensions if isinstance(item, str)]
            found.append((namespace, name, dict(zip(pairs[::2], pairs[1::2], strict=True))))
    return found


def test_every_alarm_and_widget_shows_a_metric_that_there_is(stack: Stack) -> None:
    """One that the code counts, by the dimension that it counts by; or AWS's own of something in this stack."""
    functions = {item["FunctionName"] for item in stack.of_type("AWS::Lambda::Function").values()}
    for namespace, name, dimensions in shown(stack):
        match namespace:
            case names.NAMESPACE:
                assert name in {str(item) for item in names.Metric}
                assert dimensions == {names.STACK_DIMENSION: "iot-cert"}
            case "AWS/Lambda":
                assert name in {"Duration", "Errors", "Invocations", "Throttles"}
                assert dimensions["FunctionName"] in functions
            case _:
                assert (namespace, name) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
                assert dimensions == {"QueueName": "iot-cert-dead-letters"}


def test_whatever_is_counted_is_shown(stack: Stack) -> None:
    """A metric that nothing shows is paid for in vain."""
    widgets = json.loads(stack.resources["Dashboard"]["Properties"]["DashboardBody"])["widgets"]
    drawn = [metric[1] for widget in widgets for metric in widget["properties"].get("metrics", [])]
    assert {str(item) for item in names.Metric} <= set(drawn)


def test_every_function_has_an_alarm_of_its_errors(stack: Stack) -> None:
    """And the hook of its time, the sweep of its absence."""
    alarms = [(name, dimensions.get("FunctionName")) for _, name, dimensions in shown(stack)]
    for function in stack.of_type("AWS::Lambda::Function").values():
        assert ("Errors", function["FunctionName"]) in alarms
    assert stack.resources["HookSlow"]["Properties"]["Threshold"] == 3000
    assert stack.resources["SweepMissing"]["Properties"]["TreatMissingData"] == "breaching"


def test_the_dashboard_draws_no_widget_over_another(stack: Stack) -> None:
    """Each place of its grid of 24 columns is used once."""
    taken: set[tuple[int, int]] = set()
    for widget in json.loads(stack.resources["Dashboard"]["Properties"]["DashboardBody"])["widgets"]:
        columns = range(widget["x"], widget["x"] + widget["width"])
        places = {(column, row) for column in columns for row in range(widget["y"], widget["y"] + widget["height"])}
        assert not places & taken
        assert max(columns) < 24
        taken |= places


def test_alarms_are_sent_where_the_operator_wants_them() -> None:
    """To a topic; to an address too, where one is given."""
    assert "AlarmMail" not in Stack().resources
    stack = Stack(given={"AlarmEmail": "fleet@example.com", "Prefix": LONGEST_PREFIX})
    assert stack.resources["AlarmMail"]["Properties"]["Endpoint"] == "fleet@example.com"
    topic = stack.resources["AlarmMail"]["Properties"]["TopicArn"]
    for alarm in stack.of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [topic]
        assert len(alarm["AlarmDescription"]) <= 1024
