from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.change.reserve import Standing
from agent.core.jsonio import encode, to_plain
from agent.core.report.seen import MAX_NAMED, MAX_WATCHED, Damage, Seen, WatchedEnd, WatchedFile, seen_of, within_bounds
from agent.core.values import Provenance, TrustSource
from agent.core.worker_protocol import MAX_LINE, End, decode_answer, encode_answer
from support import make
from support.make import DAY, NOW
from support.suite import campaigns

FULL = make.seen(
    current=make.in_use(
        trust=Provenance(source=TrustSource.BUNDLE, version=7, issued_at=NOW),
        anchors=(make.anchor(digital_signature=None, client_auth=None, version=1), make.anchor(is_ca=False)),
    ),
    damage=(Damage(critical=True, text="It is damaged."),),
    reserve=Standing.NO_ROOM,
    watched=(
        WatchedFile(path="/etc/a.pem", warn=30 * DAY, problem="/etc/a.pem: it cannot be read"),
        WatchedFile(
            path="/etc/b.pem",
            warn=DAY / 7,
            certificates=3,
            unreadable=1,
            ends=(WatchedEnd(subject="CN=a", sha256="01" * 32, not_after=NOW),),
        ),
    ),
)


def on_the_wire(seen: Seen) -> dict[str, Any]:
    """Return what was seen as the daemon gets it from its worker."""
    plain: dict[str, Any] = json.loads(json.dumps(to_plain(seen)))
    return plain


@pytest.mark.parametrize("seen", [FULL, make.seen(), make.seen(current=None, previous=None)])
def test_what_a_worker_tells_is_what_it_saw(seen: Seen) -> None:
    """To the field, whatever is there and whatever is not."""
    assert seen_of(on_the_wire(seen)) == seen


@given(st.text(), st.floats(0, 1, exclude_max=True), st.lists(st.text(max_size=50), max_size=5))
def test_names_of_any_kind_come_through(subject: str, splay: float, damage: list[str]) -> None:
    """What certificates are called is other people's choice."""
    seen = make.seen(
        current=make.in_use(certificate=make.certificate(subject=subject), splay=splay),
        damage=tuple(Damage(critical=False, text=text) for text in damage),
    )
    assert seen_of(on_the_wire(seen)) == seen


def changed(path: str, value: object) -> dict[str, Any]:
    """Return what a worker tells with another value in one place."""
    told = on_the_wire(FULL)
    place: Any = told
    *way, name = path.split(".")
    for step in way:
        place = place[int(step)] if step.isdigit() else place[step]
    place[name] = value
    return told


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        "seen",
        {},
        changed("floor", "yesterday"),
        changed("reserve", "plenty"),
        changed("previous", -1),
        changed("current", []),
        changed("current.generation", "7"),
        changed("current.splay", "0.5"),
        changed("current.splay", -0.1),
        changed("current.certificate.not_after", 7),
        changed("current.anchors", {}),
        changed("damage.0.critical", 1),
        changed("watched.0.warn", None),
        changed("watched.1.ends", [7]),
    ],
    ids=lambda told: str(told)[:30],
)
def test_what_cannot_be_understood_was_not_seen(told: object) -> None:
    """The daemon keeps what it knows, and looks again."""
    assert seen_of(told) is None


# -- how much is told --------------------------------------------------------------------------------------------------

SUBJECTS = {
    "usual": "CN=Root {},O=Example Trust Services,C=BM",
    "odd": "CN=\N{SNOWMAN} {}" + "\N{SNOWMAN}" * 300,
}


def files_with(number: int, ends: int, subject: str) -> tuple[WatchedFile, ...]:
    """Return so many watched files, each with so many ends."""
    named = tuple(
        WatchedEnd(subject=subject.format(item), sha256=f"{item:064x}", not_after=NOW + item * DAY)
        for item in range(ends)
    )
    return tuple(
        WatchedFile(path=f"/etc/app-{item}/ca.pem", warn=DAY, certificates=ends, ends=named) for item in range(number)
    )


def test_of_few_watched_files_all_is_told() -> None:
    """As their own bound has it."""
    few = files_with(100, MAX_WATCHED, SUBJECTS["usual"])
    assert within_bounds(few) == few


@pytest.mark.parametrize(("number", "subject"), campaigns.take(list(product([500, 2_600], SUBJECTS)), 3))
def test_the_daemon_takes_a_look_at_many_watched_files(number: int, subject: str) -> None:
    """As many as a configuration can name: a look that is no answer would leave a gateway without its connection."""
    found = within_bounds(files_with(number, MAX_WATCHED, SUBJECTS[subject]))
    anchors = tuple(make.anchor(sha256=f"{item:064x}", subject=SUBJECTS[subject]) for item in range(1_000))
    end = End(seen=make.seen(current=make.in_use(anchors=anchors), watched=found))
    line = encode_answer(end)

    assert len(line) < MAX_LINE
    assert decode_answer(line) == end
    assert [item.certificates for item in found] == [MAX_WATCHED] * number
    assert len({len(item.ends) for item in found}) == 1
    assert sum(len(encode(one)) for item in found for one in item.ends) <= MAX_NAMED


def test_what_ends_first_is_told_of_many_watched_files() -> None:
    """Of each of them."""
    found = within_bounds(files_with(500, MAX_WATCHED, SUBJECTS["usual"]))
    assert [item.ends[0].not_after for item in found] == [NOW] * 500
