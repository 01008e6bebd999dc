from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.unit.sandbox.sandbox_gateway import NOON, THING, SandboxGateway

SHADOW = f"$aws/things/{THING}/shadow/name/certificate"
AT_NOON = {"timestamp": NOON}


class ShadowGateway(SandboxGateway):
    """A gateway that reports to its shadow."""

    topic = SHADOW

    def report(self, **reported: Any) -> dict[str, Any]:
        """Report something, which must be accepted."""
        verdict, body = self.ask("update", state={"reported": reported})
        assert verdict == "accepted"
        return body

    def state(self) -> dict[str, Any]:
        """Return the state in the shadow."""
        document = self.cloud.shadow(THING, "certificate")
        assert document is not None
        state: dict[str, Any] = document["state"]
        return state


@pytest.fixture
def gateway() -> ShadowGateway:
    """Return a gateway without a shadow."""
    return ShadowGateway()


# -- no shadow yet -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b'{"clientToken": "t"}', b"{}", b""])
def test_a_shadow_that_is_not_there_is_not_found(gateway: ShadowGateway, payload: bytes) -> None:
    """The agent's proof lives on this answer; an empty message is AWS's own way to ask."""
    (reply,) = gateway.publish("get", payload).replies
    assert reply.topic == f"{SHADOW}/get/rejected"
    body = json.loads(reply.payload)
    assert (body["code"], body["message"]) == (404, "No shadow exists with name: 'certificate'")
    assert body.get("clientToken") == ("t" if b"t" in payload else None)
    assert [(request.operation, request.outcome) for request in gateway.cloud.requests] == [("ask", "404")]


def test_nothing_to_delete_is_not_found(gateway: ShadowGateway) -> None:
    """With the name in the message."""
    verdict, body = gateway.ask("delete")
    assert (verdict, body["code"], body["message"]) == ("rejected", 404, "No shadow exists with name: 'certificate'")
    assert gateway.cloud.shadow(THING, "certificate") is None


# -- update and get ----------------------------------------------------------------------------------------------------


def test_the_first_update_makes_the_shadow(gateway: ShadowGateway) -> None:
    """The reply holds what was in the request, with its times; the shadow has its first version."""
    verdict, body = gateway.ask("update", state={"reported": {"health": 0}}, clientToken="t")
    assert (verdict, body) == (
        "accepted",
        {
            "state": {"reported": {"health": 0}},
            "metadata": {"reported": {"health": AT_NOON}},
            "version": 1,
            "clientToken": "t",
            "timestamp": NOON,
        },
    )
    assert gateway.cloud.shadow(THING, "certificate") == {
        "state": {"reported": {"health": 0}},
        "metadata": {"reported": {"health": AT_NOON}},
        "version": 1,
    }


def test_an_update_changes_what_it_names_and_nothing_else(gateway: ShadowGateway) -> None:
    """At any depth; each value keeps the time at which it was set."""
    gateway.report(phase="a", plan={"at": 1, "code": "x"}, names=[1, 2])
    gateway.now += timedelta(seconds=5)
    body = gateway.report(plan={"at": 2}, names=[3])
    assert body["state"] == {"reported": {"plan": {"at": 2}, "names": [3]}}
    assert gateway.state() == {"reported": {"phase": "a", "plan": {"at": 2, "code": "x"}, "names": [3]}}
    later = {"timestamp": NOON + 5}
    document = gateway.cloud.shadow(THING, "certificate")
    assert document is not None
    assert document["metadata"] == {
        "reported": {"phase": AT_NOON, "plan": {"at": later, "code": AT_NOON}, "names": later}
    }


@pytest.mark.parametrize(("before", "after"), [({"a": 1}, {"b": 2}), ({"b": {"c": 3}}, 7), (7, {"b": 2})])
def test_a_value_may_become_an_object_and_an_object_a_value(
    gateway: ShadowGateway, before: object, after: object
) -> None:
    """Objects are merged with objects, everything else is replaced."""
    gateway.report(x=before)
    gateway.report(x=after)
    merged = before | after if isinstance(before, dict) and isinstance(after, dict) else after
    assert gateway.state() == {"reported": {"x": merged}}


def test_null_deletes_a_key_and_a_section(gateway: ShadowGateway) -> None:
    """A section in which nothing is left is gone too."""
    gateway.ask("update", state={"reported": {"a": 1, "b": {"c": 2, "d": 3}}, "desired": {"e": 4}})
    body = gateway.report(a=None, b={"c": None}, never=None)
    assert body["state"] == {"reported": {"a": None, "b": {"c": None}, "never": None}}
    assert gateway.state() == {"reported": {"b": {"d": 3}}, "desired": {"e": 4}}
    gateway.ask("update", state={"desired": None})
    assert gateway.state() == {"reported": {"b": {"d": 3}}}
    gateway.report(b=None)
    assert gateway.state() == {}


def test_a_shadow_is_shown_whole_with_what_differs(gateway: ShadowGateway) -> None:
    """The delta is part of the state that is read, and not of what is kept."""
    gateway.report(renew=None, health=0)
    gateway.cloud.desire(THING, "certificate", {"renew": {"opens_at": "x"}})
    verdict, body = gateway.ask("get", clientToken="t")
    assert (verdict, body["state"]) == (
        "accepted",
        {
            "desired": {"renew": {"opens_at": "x"}},
            "reported": {"health": 0},
            "delta": {"renew": {"opens_at": "x"}},
        },
    )
    assert (body["version"], body["clientToken"], body["timestamp"]) == (2, "t", NOON)
    gateway.report(renew={"opens_at": "x"})
    assert "delta" not in gateway.ask("get")[1]["state"]


def test_shadows_are_kept_by_thing_and_name(gateway: ShadowGateway) -> None:
    """Another one of the same thing, and one of another thing, are untouched."""
    gateway.report(a=1)
    gateway.cloud.desire(THING, "other", {"b": 2})
    gateway.cloud.desire("gw-2", "certificate", {"c": 3})
    assert gateway.state() == {"reported": {"a": 1}}
    assert gateway.cloud.shadow(THING, "unknown") is None


def test_a_shadow_that_was_read_is_a_copy(gateway: ShadowGateway) -> None:
    """A caller who changes it changes nothing."""
    gateway.report(a={"b": 1})
    gateway.state()["reported"]["a"]["b"] = 2
    assert gateway.state() == {"reported": {"a": {"b": 1}}}


# -- version -----------------------------------------------------------------------------------------------------------


def test_an_update_of_another_version_is_a_conflict(gateway: ShadowGateway) -> None:
    """The right version passes; nothing was changed by the wrong one."""
    gateway.report(a=1)
    gateway.report(a=2)
    for wrong in (0, 1, 3):
        verdict, body = gateway.ask("update", state={"reported": {"a": 9}}, version=wrong, clientToken="t")
        assert (verdict, body) == (
            "rejected",
            {"code": 409, "message": "Version conflict", "clientToken": "t", "timestamp": NOON},
        )
    assert gateway.ask("update", state={"reported": {"a": 3}}, version=2)[1]["version"] == 3
    assert gateway.state() == {"reported": {"a": 3}}


def test_a_deletion_does_not_set_the_version_back(gateway: ShadowGateway) -> None:
    """The next shadow of the name goes on from it."""
    gateway.report(a=1)
    gateway.report(a=2)
    assert gateway.ask("delete", clientToken="t") == (
        "accepted",
        {"version": 2, "clientToken": "t", "timestamp": NOON},
    )
    assert gateway.cloud.shadow(THING, "certificate") is None
    assert gateway.ask("get")[1]["code"] == 404
    assert gateway.report(b=1)["version"] == 3
    assert gateway.state() == {"reported": {"b": 1}}


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "Missing required node: state"),
        ({"state": []}, "State node must be an object"),
        ({"state": None}, "State node must be an object"),
        ({"state": {"reported": 7}}, "Reported node must be an object"),
        ({"state": {"desired": []}}, "Desired node must be an object"),
        ({"state": {"delta": {}}}, "State contains an invalid node"),
        ({"state": {"reported": {"a": [1, None]}}}, "State contains an invalid node"),
        ({"state": {"reported": {"a": [{"b": [None]}]}}}, "State contains an invalid node"),
        ({"state": {"reported": {}}, "version": "1"}, "Invalid version"),
        ({"state": {"reported": {}}, "version": True}, "Invalid version"),
        ({"state": {"reported": {}}, "clientToken": 7}, "Invalid clientToken"),
        ({"state": {"reported": {}}, "clientToken": "t" * 65}, "Invalid clientToken"),
    ],
    ids=str,
)
def test_a_request_that_is_none_is_refused_and_changes_nothing(
    gateway: ShadowGateway, request_: dict[str, Any], message: str
) -> None:
    """With 400 and AWS's own message."""
    verdict, body = gateway.ask("update", **request_)
    assert (verdict, body["code"], body["message"]) == ("rejected", 400, message)
    assert gateway.cloud.shadow(THING, "certificate") is None
    assert gateway.heard == []


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff", b'{"state":' * 50_000])
def test_an_update_that_is_no_json_object_is_refused(gateway: ShadowGateway, payload: bytes) -> None:
    """In the words of shadows."""
    (reply,) = gateway.publish("update", payload).replies
    assert reply.topic == f"{SHADOW}/update/rejected"
    assert json.loads(reply.payload)["code"] == 400
    assert [(request.operation, request.outcome) for request in gateway.cloud.requests] == [("shadow", "400")]


def nested(levels: int) -> dict[str, Any]:
    """Return an object with so many objects in each other, itself included."""
    return {"a": nested(levels - 1)} if levels > 1 else {}


def test_eight_levels_are_taken_and_no_more(gateway: ShadowGateway) -> None:
    """The section itself is the first; lists count as objects do."""
    gateway.report(**nested(8))
    assert gateway.state() == {"reported": nested(8)}
    for deeper in (nested(9), nested(7) | {"b": [[[[[[[[]]]]]]]]}):
        verdict, body = gateway.ask("update", state={"reported": deeper})
        assert (verdict, body["code"]) == ("rejected", 400)
        assert body["message"] == "JSON contains too many levels of nesting; maximum is 8"


def test_a_shadow_holds_eight_kilobytes(gateway: ShadowGateway) -> None:
    """The whole state counts, in bytes, and not one update; what is too much is refused as it came."""
    frame = len('{"reported":{"a":""}}')
    gateway.report(a="x" * (8192 - frame))
    verdict, body = gateway.ask("update", state={"reported": {"b": 1}}, clientToken="t")
    assert (verdict, body["code"], body["clientToken"]) == ("rejected", 413, "t")
    assert body["message"] == "The payload exceeds the maximum size allowed"
    gateway.report(a="ü" * ((8192 - frame) // 2))
    assert gateway.ask("update", state={"reported": {"a": "ü" * ((8192 - frame) // 2 + 1)}})[1]["code"] == 413
    assert gateway.state() == {"reported": {"a": "ü" * ((8192 - frame) // 2)}}


# -- what is heard -----------------------------------------------------------------------------------------------------


def test_a_report_that_leaves_nothing_open_is_told_as_documents_only(gateway: ShadowGateway) -> None:
    """Before and after, once there is a before."""
    gateway.report(a=1)
    first = {"state": {"reported": {"a": 1}}, "metadata": {"reported": {"a": AT_NOON}}, "version": 1}
    assert gateway.since() == [("update/documents", {"current": first, "timestamp": NOON})]
    gateway.ask("update", state={"reported": {"a": 2}}, clientToken="t")
    ((topic, body),) = gateway.since()
    assert (topic, body["previous"], body["clientToken"]) == ("update/documents", first, "t")
    assert (body["current"]["state"], body["current"]["version"]) == ({"reported": {"a": 2}}, 2)


def test_what_is_desired_and_not_reported_is_told_as_delta(gateway: ShadowGateway) -> None:
    """An application's wish comes without a token, with its time and the version."""
    gateway.report(health=0)
    gateway.since()
    gateway.now += timedelta(seconds=7)
    gateway.cloud.desire(THING, "certificate", {"renew": {"opens_at": "x"}, "health": 0})
    (topic, body), (other, _) = gateway.since()
    assert (topic, other) == ("update/delta", "update/documents")
    assert body == {
        "state": {"renew": {"opens_at": "x"}},
        "metadata": {"renew": {"opens_at": {"timestamp": NOON + 7}}},
        "version": 2,
        "timestamp": NOON + 7,
    }


def test_a_wish_that_stays_open_is_told_again_with_each_report(gateway: ShadowGateway) -> None:
    """All that differs is in it, whatever the report was about; once it is echoed there is silence."""
    gateway.cloud.desire(THING, "certificate", {"renew": {"opens_at": "x", "closes_at": "y"}})
    gateway.since()
    gateway.report(renew={"opens_at": "x"})
    assert [(topic, body["state"]) for topic, body in gateway.since() if topic == "update/delta"] == [
        ("update/delta", {"renew": {"closes_at": "y"}})
    ]
    gateway.report(renew={"closes_at": "y"})
    assert [topic for topic, _ in gateway.since()] == ["update/documents"]
    gateway.cloud.desire(THING, "certificate", {"renew": None})
    assert [topic for topic, _ in gateway.since()] == ["update/documents"]


@pytest.mark.parametrize(
    ("desired", "reported", "delta"),
    [
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"a": 1, "b": 2}, {}),
        ({"a": 1}, {"a": True}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": 7}, {"a": {"b": 1}}),
        ({"a": 7}, {"a": {"b": 1}}, {"a": 7}),
        ({"a": [{"c": 1, "d": 2}]}, {"a": [{"d": 2, "c": 1}]}, {}),
    ],
    ids=str,
)
def test_the_delta_holds_exactly_what_differs(
    gateway: ShadowGateway, desired: dict[str, Any], reported: dict[str, Any], delta: dict[str, Any]
) -> None:
    """Key by key at any depth; a list is one value, and the order of keys is none."""
    gateway.ask("update", state={"desired": desired, "reported": reported})
    assert gateway.ask("get")[1]["state"].get("delta", {}) == delta
    assert [body["state"] for topic, body in gateway.since() if topic == "update/delta"] == [delta] * bool(delta)


def test_a_wish_that_no_shadow_may_hold_is_an_error(gateway: ShadowGateway) -> None:
    """For the owner it is a ValueError with AWS's message."""
    with pytest.raises(ValueError, match="exceeds the maximum size"):
        gateway.cloud.desire(THING, "certificate", {"a": "x" * 9000})
    assert gateway.cloud.shadow(THING, "certificate") is None


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "code"),
    [(Effect.REJECT, 400), (Effect.DENY, 403), (Effect.THROTTLE, 429), (Effect.UNAVAILABLE, 500)],
)
@pytest.mark.parametrize(("operation", "verb"), [(Operation.SHADOW, "update"), (Operation.ASK, "get")])
def test_a_fault_that_refuses_is_told_in_the_words_of_shadows(
    gateway: ShadowGateway, operation: Operation, verb: str, effect: Effect, code: int
) -> None:
    """A number and a message, with the request's token; it strikes its own operation only."""
    gateway.report(a=1)
    gateway.cloud.faults.add(Fault(operation=operation, effect=effect))
    other = "update" if verb == "get" else "get"
    assert gateway.ask(other, state={})[0] == "accepted"
    verdict, body = gateway.ask(verb, state={"reported": {"a": 2}}, clientToken="t")
    assert (verdict, body["code"], body["clientToken"]) == ("rejected", code, "t")
    assert gateway.state() == {"reported": {"a": 1}}


def test_a_lost_reply_belongs_to_an_update_that_took_place(gateway: ShadowGateway) -> None:
    """An update that never arrived changes nothing."""
    gateway.cloud.faults.add(Fault(operation=Operation.SHADOW, effect=Effect.LOSE))
    gateway.cloud.faults.add(Fault(operation=Operation.SHADOW, effect=Effect.IGNORE))
    assert gateway.publish("update", b'{"state":{"reported":{"a":1}}}').replies == ()
    assert gateway.publish("update", b'{"state":{"reported":{"a":2}}}').replies == ()
    assert gateway.state() == {"reported": {"a": 1}}
    assert gateway.cloud.count(Operation.SHADOW) == 2
