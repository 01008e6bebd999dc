"""One fact is one, wherever a person or a machine looks: the same cause by the same code, the same times, one health.

`test_told.py` beside it holds the words. Here what they say is compared, teller with teller, in each situation that is
written down there and in those that wait for something, and each again a while later: nothing changes by being looked
at.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.report import jobs, notices, shadow
from agent.core.report.findings import judge
from agent.core.report.known import ConnectionState
from agent.core.text import clock_time
from agent.core.values import Kind, Origin
from agent.core.when.reconnect import ReconnectState, after_takeover
from agent.core.when.schedule import Pause
from agent.daemon.cloud.session import SessionStatus
from support import make
from support.suite import campaigns
from support.telling.situations import OF_OTHERS, SITUATIONS, Situation, brought_into
from support.telling.told import DAY, ConnectedPlace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.report.status import Status

SOON, HOUR = timedelta(seconds=90), timedelta(hours=1)
TROUBLE = make.failure(message="The broker does not answer.")

# What the doctor finds out by itself is named in particular where the status names the kind.
PARTICULAR = {
    "exposed": {"mode", "owner", "kept"},
    "anchor-expiring": {"expiring", "expired"},
    "anchor-distrusted": {"distrusted", "weak-key", "not-a-ca"},
    "anchors-lacking": {"missing"},
}


def waiting(here: ConnectedPlace, phase: Phase = Phase.REQUESTED, **changes: Any) -> None:
    """Let a job's rotation wait for its next try."""
    here.fly(
        make.record(
            phase,
            planned_at=here.now,
            entered_at=here.now,
            origin=Origin.JOB,
            order="job:job-1:1",
            attempts=3,
            failure=TROUBLE,
            retry_at=here.now + SOON,
            generation=2,
            base=1,
            **changes,
        )
    )


def spent(here: ConnectedPlace) -> None:
    """Let a rotation wait for the daily budget."""
    requests = tuple(here.now - hours * HOUR for hours in (4, 3, 2, 1))
    ready = {"generation": 2, "base": 1, "requests": requests}
    here.fly(make.record(Phase.KEY_READY, planned_at=here.now, entered_at=here.now, **ready))


def failed(here: ConnectedPlace) -> None:
    """Let a rotation that is due wait after failures."""
    for hours in (3, 2):
        here.end(make.finished(Phase.REJECTED, at=here.now - hours * HOUR, generation=2, failure=TROUBLE))


def tried_again(here: ConnectedPlace) -> None:
    """Let the session wait for its next try, long enough for it to be told."""
    here.daemon.cloud.session._status = SessionStatus(state=ConnectionState.DOWN)
    here.daemon.cloud.session._schedule(SOON.total_seconds())
    here.daemon.cloud.session._down("No route to host.", told="No route to host. Next try in 90 s.")
    here.clock.advance(seconds=61)


def taken_over(here: ConnectedPlace) -> None:
    """Let another client have the client id."""
    verdict = after_takeover(ReconnectState(), 0, 0.5)
    here.daemon.cloud.session._lost_to_another(verdict, "Another client connected as gw-0042", guessed=False)


def expired_anchor(here: ConnectedPlace) -> None:
    """Let the one anchor, which the endpoint chained to, be over while the certificate is not."""
    seen = here.daemon.facts._seen
    assert seen is not None
    assert seen.current is not None
    over = tuple(replace(anchor, not_after=here.now - DAY) for anchor in seen.current.anchors)
    proven = make.finished(at=here.now - HOUR, generation=1, anchor=over[0].sha256)
    here.end(proven)
    here.see(current=replace(seen.current, anchors=over))


DUE = {"age": 80 * DAY, "lifetime": 100 * DAY}
WAITING: dict[str, Situation] = {
    "a rotation waits for its next try": Situation(before=waiting),
    "one that is due waits for its next try": Situation(made=DUE, before=waiting),
    "one that is due waits for the daily budget": Situation(made=DUE, before=spent),
    "one that is due waits after failures": Situation(made=DUE, before=failed),
    "one that is due has not begun": Situation(made=DUE),
    "one that is due is held by a pause": Situation(
        made=DUE, after=lambda here: here.daemon.facts.hold(Pause(until=here.now + HOUR, reason="a visit"))
    ),
    "one that is due is held by an inhibit file": Situation(
        made=DUE,
        before=lambda here: setattr(here, "more", f"{here.more}rotation: {{inhibit_file: {here.path}/roots.pem}}\n"),
    ),
    "new anchors wait for their next try": Situation(
        before=lambda here: waiting(here, Phase.PREPARED, kind=Kind.TRUST)
    ),
    "a new set is on probation": Situation(before=lambda here: waiting(here, Phase.DEPLOYED)),
    "the connection is tried again": Situation(after=tried_again),
    "the session keeps away": Situation(after=taken_over),
    "the anchor in use has expired": Situation(after=expired_anchor),
    "a certificate of a day is half over": Situation(made={"age": DAY / 2, "lifetime": DAY}),
    "a certificate of ten years has three months left": Situation(
        made={"age": timedelta(days=3550), "lifetime": timedelta(days=3650)}
    ),
}
EACH = SITUATIONS | WAITING
OF_ANY_USER = [name for name in SITUATIONS if name not in OF_OTHERS]


class Tellers:
    """What each of them says of one gateway at one moment."""

    def __init__(self, here: ConnectedPlace) -> None:
        here.daemon.report.publish()
        self.here = here
        self.exit, printed = here.hear("status", "--json")
        self.document: dict[str, Any] = json.loads(printed)
        self.screen, self.why = (" ".join(here.hear(verb)[1].split()) for verb in ("status", "explain"))
        self.check, printed = here.hear("check", "--json")
        lines = (json.loads(line) for line in printed.splitlines())
        self.lines = {line["check"]: line for line in lines if line["event"] == "line"}
        self.status: Status | None = here.status() if here.listens and here.answers else None
        self.metrics = (here.path / "run" / "metrics.prom").read_text() if self.status else ""
        self.shadow = shadow.report(self.status, shadow.Wish()) if self.status else {}

    def sample(self, name: str) -> str:
        """Return the value of a metric without labels, or nothing."""
        found = re.search(rf"^iot_cert_{name} (\S+)$", self.metrics, re.MULTILINE)
        return found[1] if found else ""

    def codes(self) -> list[str]:
        """Return the codes of the findings, by the document."""
        return sorted(item["code"] for item in self.document["findings"])

    def next_try(self) -> datetime | None:
        """Return when the agent does something next by itself, by the document."""
        told = self.document["next"]
        if told is None:
            return at(self.document["plan"].get("at"))
        return at(told.get("until"))

    def times(self) -> tuple[object, ...]:
        """Return all that the tellers say of what comes next."""
        link = self.document.get("connection") or {}
        return self.next_try(), link.get("next_try"), self.shadow.get("renewAt"), self.sample("next_attempt_seconds")


def at(text: object) -> datetime | None:
    """Return an instant of a document."""
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None


@pytest.fixture(name="told", params=[*campaigns.take(OF_ANY_USER, 7), *WAITING])
def _told(request: pytest.FixtureRequest) -> Iterator[Tellers]:
    with brought_into(EACH[request.param]) as here:
        yield Tellers(here)


def test_each_fact_is_told_alike(told: Tellers) -> None:
    """One test for all of them: bringing a gateway there takes longer than any comparison."""
    one_health(told)
    one_code(told)
    one_expiry(told)
    one_next_step(told)
    one_cause(told)
    nothing_moves_by_being_looked_at(told)


def one_health(told: Tellers) -> None:
    """None says that all is well while another says that it is not, and none makes critical what is not."""
    assert told.exit == told.document["exit"]
    assert (told.check == 0) <= (told.exit == 0)
    assert (told.exit == 3) <= (told.check in {2, 3})
    assert (told.check == 3) <= (told.exit == 3)
    if told.status is None:
        return
    assert told.exit == int(told.sample("health")) == told.shadow["health"]
    assert bool(told.shadow["problem"]) is bool(told.document["health"])


def one_code(told: Tellers) -> None:
    """Each finding is in a line of the doctor's, by the same name or a particular's; metrics and notices have it."""
    for item in told.document["findings"]:
        line = told.lines[item["check"]]
        names = {item["code"], *PARTICULAR.get(item["code"], set())}
        assert line["verdict"] != "ok" or item["severity"] == 0
        assert line["code"] in names or item["text"] in line["text"] or item["severity"] == 0
    if told.status is not None:
        counted = re.findall(r'^iot_cert_findings\{code="([^"]+)",severity="\d"\} (\d+)$', told.metrics, re.MULTILINE)
        assert sorted(code for code, number in counted for _ in range(int(number))) == told.codes()
        noticed = notices.of_findings(judge(told.status).findings)
        assert sorted(item.code for item in noticed) == told.codes()


def one_expiry(told: Tellers) -> None:
    """The end of the certificate is one instant."""
    current = told.document["current"]
    if current is None:
        assert "certificate_not_after_seconds{" not in told.metrics
        return
    end = at(current["certificate"]["not_after"])
    assert end is not None
    assert f"until {end:%Y-%m-%d %H:%M} UTC" in told.screen
    if told.status is not None:
        (seconds,) = re.findall(r"^iot_cert_certificate_not_after_seconds\{.*\} (\S+)$", told.metrics, re.MULTILINE)
        assert float(seconds) == end.timestamp()
        assert at(told.shadow["notAfter"]) == end


def one_next_step(told: Tellers) -> None:
    """When the agent acts next is one instant, in metrics, shadow, a job's details and on the screen."""
    if told.status is None:
        return
    expected = told.next_try()
    seconds = told.sample("next_attempt_seconds")
    assert bool(seconds) is bool(expected)
    assert not expected or abs(float(seconds) - expected.timestamp()) < 1  # which it is cut to
    change, step = told.document["change"], told.document["next"]
    renews = change is not None and change["kind"] != Kind.TRUST and change["phase"] not in {"active", "deployed"}
    assert at(told.shadow["renewAt"]) == (expected if change is None or renews else at(told.document["plan"].get("at")))
    assert told.shadow["waitsFor"] == (step["code"] if renews else told.document["plan"]["code"])
    link = told.document["connection"]
    if link["next_try"]:
        shown = f"Next try at {clock_time(datetime.fromisoformat(link['next_try']))}."
        assert shown in told.screen
        assert shown in told.why
    for text in (told.screen, told.why, *told.document["health"], told.shadow["problem"] or ""):
        assert not re.search(r"Next try in |keeps away for ", text), "a delay is over when it is read"
    if step is not None and step["code"] == "retry":
        assert expected is not None
        assert f"Next try at {clock_time(expected)}." in told.screen
        assert f"Next try at {clock_time(expected)}." in told.why


def one_cause(told: Tellers) -> None:
    """What a change failed with is told in the same words to each, and as often as it failed."""
    change = told.status.change if told.status else None
    if change is None or change.failure is None or told.status is None:
        return
    message = change.failure.message
    assert any(message in text for text in told.document["health"])
    assert told.document["change"]["failure"]["message"] == message
    assert told.document["change"].get("attempts", 0) == change.attempts
    assert (told.shadow["failure"], told.shadow["failureClass"]) == (message, change.failure.kind)
    answer = jobs.answer_of(change, *told.here.daemon.cloud.fleet.jobs._waits_for(change))
    assert answer.details["message"] == message
    assert answer.details["failureCode"] == change.failure.code
    until = told.next_try()
    assert answer.details.get("nextTry", "") == (clock_time(until) if until else "")


def nothing_moves_by_being_looked_at(told: Tellers) -> None:
    """A second later the same is told of what comes next: nothing is written anew, to a file or to the cloud."""
    before = told.times()
    told.here.clock.advance(seconds=1)
    enrols = told.document["plan"]["code"] == "due" and told.document["plan"]["kind"] == Kind.ENROLL  # at once
    waits = told.document["next"] is None or told.document["next"].get("until") is not None
    if waits and not enrols and not (told.document.get("connection") or {}).get("next_try"):
        assert Tellers(told.here).times() == before
