from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.advance import advance
from agent.core.change.decide import Wait
from agent.core.change.events import Retired
from agent.core.change.lifecycle import ChangeRecord, Phase
from agent.core.dependants import Served, Step
from agent.core.failure.failure import FailureClass
from agent.core.report.known import ConnectionState
from agent.core.report.metrics import PREFIX, render
from agent.core.report.seen import WatchedEnd, WatchedFile
from agent.core.report.status import Retiring
from agent.core.values import Kind
from agent.core.when.schedule import Plan
from support import make
from support.make import DAY, HOUR, NOW

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SAMPLE = re.compile(r"(?P<name>[^\s{]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)", re.DOTALL)


@dataclass
class Family:
    """One metric of the text format, as a strict reader takes it."""

    text: str = ""
    kind: str = ""
    samples: dict[tuple[tuple[str, str], ...], float] = field(default_factory=dict)


class MetricsReader:
    """Reads the text format 0.0.4 as the node exporter does, and refuses what it would refuse."""

    def __init__(self, text: str) -> None:
        assert text.endswith("\n")
        self.families: dict[str, Family] = defaultdict(Family)
        self._last = ""
        for line in text[:-1].split("\n"):
            assert line == line.strip()
            if line.startswith("# "):
                self._comment(line)
            else:
                self._sample(line)
        assert all(family.samples for family in self.families.values())

    def _comment(self, line: str) -> None:
        _, keyword, name, rest = line.split(" ", maxsplit=3)
        assert NAME.fullmatch(name)
        family = self.families[name]
        assert not family.samples, f"{name}: {keyword} comes after a sample"
        if keyword == "HELP":
            assert not family.text, f"{name}: HELP stands twice"
            family.text = rest
        else:
            assert keyword == "TYPE"
            assert not family.kind, f"{name}: TYPE stands twice"
            assert rest in {"gauge", "counter"}
            family.kind = rest

    def _sample(self, line: str) -> None:
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, family = match["name"], self.families[match["name"]]
        assert NAME.fullmatch(name)
        assert family.text, f"{name}: HELP is missing"
        assert family.kind, f"{name}: TYPE is missing"
        assert name == self._last or not family.samples, f"{name}: its samples do not stand together"
        self._last = name
        labels = self._labels(match["labels"] or "")
        assert labels not in family.samples, f"{name}{labels} stands twice"
        family.samples[labels] = float(match["value"])

    @staticmethod
    def _labels(text: str) -> tuple[tuple[str, str], ...]:
        found, place = [], 0
        while place < len(text):
            match = LABEL.match(text, place)
            assert match, text
            value = re.sub(r"\\(.)", lambda escape: {"n": "\n"}.get(escape[1], escape[1]), match[2])
            found.append((match[1], value))
            place = match.end()
            assert text[place : place + 1] in {"", ","}, text
            place += 1
        assert len({name for name, _ in found}) == len(found)
        return tuple(found)


def read(*history: ChangeRecord, **changes: Any) -> MetricsReader:
    """Render a status and read it back."""
    return MetricsReader(render(make.status(**changes), history))


def value(reader: MetricsReader, name: str, /, **labels: str) -> float:
    """Return the one sample of a metric that has these labels, among others."""
    samples = reader.families[f"{PREFIX}_{name}"].samples
    (found,) = [number for own, number in samples.items() if labels.items() <= dict(own).items()]
    return found


def names(reader: MetricsReader) -> set[str]:
    """Return the metrics without their prefix."""
    assert all(name.startswith(f"{PREFIX}_") for name in reader.families)
    return {name.removeprefix(f"{PREFIX}_") for name in reader.families}


RETIREMENTS = {"retirements", "retirements_refused", "retirements_unanswered", "retirements_waiting"}
ALWAYS = {"health", "connection", "client_id_contested", "change_in_flight", "rollbacks_total"} | RETIREMENTS
WITH_A_SET = {
    "generation",
    "certificate_not_after_seconds",
    "anchor_not_after_seconds",
    "certificate_days_left",
    "anchor_days_left",
    "next_attempt_seconds",
}


def test_a_healthy_gateway_has_every_metric() -> None:
    """The whole text is what the node exporter takes."""
    reader = read(make.finished())

    assert names(reader) == ALWAYS | WITH_A_SET | {"last_success_seconds", "changes_total"}
    assert value(reader, "health") == 0
    assert value(reader, "generation") == 7
    assert value(reader, "change_in_flight") == 0
    assert value(reader, "client_id_contested") == 0
    assert value(reader, "retirements") == 0
    assert {reader.families[f"{PREFIX}_{name}"].kind for name in ("changes_total", "rollbacks_total")} == {"counter"}
    assert reader.families[f"{PREFIX}_health"].kind == "gauge"


def test_a_gateway_without_a_certificate_has_metrics_nevertheless() -> None:
    """What cannot be told is missing, and is not a zero that means something."""
    reader = read(current=None, plan=Plan(due=False, why="there is nothing", code="not-configured", at=None))

    assert names(reader) == ALWAYS | {"findings"}
    assert value(reader, "health") == 3
    assert value(reader, "findings", code="not-enrolled", severity="3") == 1


def test_instants_are_unix_seconds_to_the_second() -> None:
    """A monitor that subtracts ``time()`` has what is left at any moment; no digit is lost on the way."""
    reader = read()
    leaf, root = make.certificate(), make.anchor()

    assert value(reader, "certificate_not_after_seconds", subject=leaf.subject) == leaf.not_after.timestamp()
    assert value(reader, "anchor_not_after_seconds", subject=root.subject) == root.not_after.timestamp()
    assert value(reader, "certificate_days_left", subject=leaf.subject) == 364
    assert value(reader, "anchor_days_left", subject=root.subject) == 4000


def test_a_certificate_that_has_ended_has_less_than_no_days_left() -> None:
    """An alert on a small number catches it, too."""
    current = make.in_use(certificate=make.certificate(not_after=NOW - 36 * HOUR))

    assert value(read(current=current), "certificate_days_left") == -1.5


def test_anchors_of_one_name_are_told_apart() -> None:
    """A cross-signed root has the name of the self-signed one; two equal samples make the exporter drop the file."""
    anchors = (make.anchor(sha256="01" * 32), make.anchor(sha256="02" * 32, not_after=NOW + 90 * DAY))
    current = make.in_use(anchors=anchors)
    samples = read(current=current).families[f"{PREFIX}_anchor_not_after_seconds"].samples

    assert (NOW + 90 * DAY).timestamp() in samples.values()


def test_an_anchor_that_stands_twice_in_a_bundle_is_told_once() -> None:
    """It is the same one."""
    current = make.in_use(anchors=(make.anchor(), make.anchor()))

    assert len(read(current=current).families[f"{PREFIX}_anchor_days_left"].samples) == 1


@pytest.mark.parametrize("state", ConnectionState)
def test_the_connection_is_in_one_state(state: str) -> None:
    """One sample is 1 and the others are 0, so that each state can be counted over a fleet."""
    reader = read(live=make.live(state))
    samples = reader.families[f"{PREFIX}_connection"].samples

    assert {dict(labels)["state"]: number for labels, number in samples.items()} == {
        name: float(name == state) for name in ConnectionState
    }


def test_without_a_daemon_the_connection_is_in_no_state() -> None:
    """No gateway keeps one."""
    assert sum(read().families[f"{PREFIX}_connection"].samples.values()) == 0


def test_the_next_attempt_is_the_changes_own_if_there_is_one() -> None:
    """Else it is the plan's; without an instant there is no sample."""
    plan = Plan(due=False, why="later", code="scheduled", at=NOW + DAY)
    following = Wait(why="it waits", code="retry", until=NOW + HOUR)
    change = make.record()

    assert value(read(plan=plan), "next_attempt_seconds") == (NOW + DAY).timestamp()
    flying = read(plan=plan, change=change, following=following)
    assert value(flying, "next_attempt_seconds") == (NOW + HOUR).timestamp()
    assert value(flying, "change_in_flight") == 1
    assert "next_attempt_seconds" not in names(read(plan=Plan(due=False, why="never", code="inhibited", at=None)))


def retiring(number: int, **changes: Any) -> Retiring:
    """Return a certificate that is to be retired."""
    return Retiring(change=f"c-{number}", certificate_id=f"{number:02}" * 32, due=NOW, **changes)


def test_what_retirements_wait_for_is_counted_by_name() -> None:
    """And apart from it, what was refused and what was not answered."""
    found = read(
        retiring=(
            retiring(1, waits_for=("nginx.service", 'copy "/a"')),
            retiring(2, waits_for=("nginx.service",), unanswered="Late."),
            retiring(3, refused="No."),
            retiring(4),
        )
    )

    told = {name: value(found, f"retirements_{name}") for name in ("waiting", "refused", "unanswered")}
    assert told == {"waiting": 2, "refused": 1, "unanswered": 1}
    assert value(found, "retirements") == 4
    assert value(found, "retirement_waits_for", name="nginx.service") == 2
    assert value(found, "retirement_waits_for", name='copy "/a"') == 1


def test_retirements_are_counted() -> None:
    """Each waiting certificate is one."""
    assert value(read(retiring=tuple(retiring(number) for number in range(3))), "retirements") == 3


def test_changes_are_counted_by_kind_outcome_and_class() -> None:
    """A change whose certificate was retired since has succeeded like any other."""
    refused = make.failure(FailureClass.CREDENTIAL)
    history = [
        make.finished(at=NOW - 9 * DAY, kind=Kind.ENROLL),
        advance(make.finished(at=NOW - 8 * DAY), Retired(at=NOW - DAY)),
        make.finished(at=NOW - 7 * DAY),
        make.finished(Phase.ROLLED_BACK, NOW - 6 * DAY, failure=refused),
        make.finished(Phase.REJECTED, NOW - 5 * DAY, failure=refused),
        make.finished(Phase.REJECTED, NOW - 4 * DAY),
    ]
    reader = read(*history)
    told = {
        tuple(dict(labels).values()): number
        for labels, number in reader.families[f"{PREFIX}_changes_total"].samples.items()
    }

    assert told == {
        ("enroll", "committed", ""): 1,
        ("rotate", "committed", ""): 2,
        ("rotate", "rolled-back", "credential"): 1,
        ("rotate", "rejected", "credential"): 1,
        ("rotate", "rejected", ""): 1,
    }
    assert value(reader, "rollbacks_total") == 1
    assert value(reader, "last_success_seconds") == (NOW - 7 * DAY).timestamp()


def test_a_success_is_dated_by_its_commitment() -> None:
    """A retirement that was noted later does not make it younger."""
    record = advance(make.finished(at=NOW - 8 * DAY), Retired(at=NOW))

    assert value(read(record), "last_success_seconds") == (NOW - 8 * DAY).timestamp()


HOSTILE = ['CN="x"', "CN=a\\b", "CN=a\\", "CN=a\nb", 'CN=\\"\n{},=', "CN=ä😀", "CN=a\x85b\u2028c", "", "CN=a}b 1"]


@pytest.mark.parametrize("subject", HOSTILE, ids=repr)
def test_no_name_breaks_the_text(subject: str) -> None:
    """What a certificate says is escaped, and reads back as it was but for its line breaks."""
    reader = read(current=make.in_use(certificate=make.certificate(subject=subject)))
    ((labels, _),) = reader.families[f"{PREFIX}_certificate_days_left"].samples.items()

    assert dict(labels)["subject"].replace("\n", " ") == subject.replace("\n", " ")


SUBJECTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(HOSTILE)
RECORDS = st.builds(
    make.finished,
    st.sampled_from([phase for phase in Phase if phase.ended]),
    st.timedeltas(-900 * DAY, 0 * DAY).map(lambda ago: NOW + ago),
    kind=st.sampled_from(Kind),
    failure=st.none() | st.builds(make.failure, st.sampled_from(FailureClass)),
)


@make.MANY
@given(
    subject=SUBJECTS, anchors=st.lists(SUBJECTS, max_size=4, unique=True), history=st.lists(RECORDS, max_size=8),
    state=st.sampled_from(ConnectionState),
)  # fmt: skip
def test_whatever_there_is_to_tell_the_text_is_sound(
    subject: str, anchors: list[str], history: list[ChangeRecord], state: str
) -> None:
    """No name, no history and no state makes a text that a strict reader refuses."""
    named = {name.replace("\n", " ") for name in anchors}
    current = make.in_use(
        certificate=make.certificate(subject=subject), anchors=tuple(make.anchor(subject=name) for name in named)
    )
    reader = read(*history, current=current, live=make.live(state))

    total = sum(reader.families[f"{PREFIX}_changes_total"].samples.values()) if history else 0
    assert total == len(history)
    assert all(math.isfinite(number) for family in reader.families.values() for number in family.samples.values())


# -- watched files -----------------------------------------------------------------------------------------------------


def watched(path: str, *days: float, problem: str = "") -> WatchedFile:
    """Return a watched file whose certificates end in so many days."""
    ends = tuple(WatchedEnd(subject="CN=x", sha256="01" * 32, not_after=NOW + day * DAY) for day in days)
    return WatchedFile(path=path, warn=DAY, problem=problem, certificates=len(days), ends=ends)


def test_a_watched_file_tells_its_first_end() -> None:
    """And whether it can be read at all; each file for itself."""
    items = (watched("/etc/a.pem", 3, 90), watched('/etc/"b\\\n.pem', problem="It is gone"), watched("/etc/c.pem", -1))
    families = read(watched=items).families
    usable, ends = (families[f"{PREFIX}_watched_{name}"] for name in ("usable", "not_after_seconds"))

    assert sorted(usable.samples.values()) == [0, 1, 1]
    assert len(usable.samples) == 3
    assert sorted(ends.samples.values()) == [(NOW - DAY).timestamp(), (NOW + 3 * DAY).timestamp()]
    assert usable.kind == ends.kind == "gauge"


def test_a_file_that_is_watched_twice_is_told_once() -> None:
    """With two distances, say; two equal samples make the exporter drop all of them."""
    families = read(watched=(watched("/etc/a.pem", 3), watched("/etc/a.pem", 3))).families

    assert len(families[f"{PREFIX}_watched_usable"].samples) == 1


def test_without_watched_files_there_are_no_samples_of_them() -> None:
    """A family without samples would be refused."""
    assert not [name for name in read().families if "watched" in name]


def test_a_dependant_tells_whether_it_uses_the_set() -> None:
    """Each once, though it may be listed twice."""
    told = (("nginx.service", ""), ("b", "It failed."), ("b", "Again."))
    steps = tuple(Step(name=name, problem=problem) for name, problem in told)
    families = read(served=Served(generation=7, steps=steps)).families

    assert sorted(families[f"{PREFIX}_dependant_served"].samples.values()) == [0, 1]
    assert not [name for name in read().families if "dependant" in name]
