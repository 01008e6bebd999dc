"""What may hold a change back, as a configuration says it: words, windows, hours."""

from __future__ import annotations

import pickle
from datetime import date, time, timedelta
from pathlib import Path

import pytest

from agent.config import reader
from agent.core.values import ByHand
from agent.core.when.maintenance import MaintenanceWindow
from support.unit.reader import MINIMUM, complaint, write


def test_a_new_set_needs_no_word_unless_that_is_configured(tmp_path: Path) -> None:
    """And then for as long as it says, in a directory beside the control socket."""
    plain = reader.load(write(tmp_path, MINIMUM))
    assert (plain.rotation.confirm, plain.limits.confirm) == (None, None)
    assert plain.confirm_dir == Path("/run/iot-cert-agent/confirm")
    asked = reader.load(write(tmp_path, MINIMUM + "rotation: {confirm: 30d}\nruntime_dir: /run/gw\n"))
    assert asked.limits.confirm == timedelta(days=30)
    assert asked.confirm_dir == Path("/run/gw/confirm")


def test_nothing_holds_a_change_unless_it_is_configured(tmp_path: Path) -> None:
    """By default every hour is welcome, no file is looked for, and what was replaced by hand is taken up."""
    rotation = reader.load(write(tmp_path, MINIMUM)).rotation

    assert (rotation.maintenance, rotation.inhibit_file) == ((), None)
    assert (rotation.grace, rotation.by_hand, rotation.retire) == (timedelta(days=7), ByHand.ADOPT, True)
    empty = reader.load(write(tmp_path, MINIMUM + "rotation: {maintenance: [], inhibit_file: }\n")).rotation
    assert empty == rotation


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ('{from: "00:00", to: "00:00"}', MaintenanceWindow(start=time(), end=time())),
        ('{from: "23:59", to: "00:01"}', MaintenanceWindow(start=time(23, 59), end=time(0, 1))),
        ("{from: 02:00, to: 09:30}", MaintenanceWindow(start=time(2), end=time(9, 30))),
        (
            '{from: "02:00", to: "04:00", days: [sun, sun, mon]}',
            MaintenanceWindow(start=time(2), end=time(4), days=frozenset({0, 6})),
        ),
        ('{from: "02:00", to: "04:00", time_zone: UTC}', MaintenanceWindow(start=time(2), end=time(4))),
        ('{from: "02:00", to: "04:00", days: , time_zone: }', MaintenanceWindow(start=time(2), end=time(4))),
    ],
)
def test_a_maintenance_window_needs_no_more_than_its_hours(
    tmp_path: Path, text: str, window: MaintenanceWindow
) -> None:
    """Days and zone have defaults; an end that is not after the start is on the next day."""
    (found,) = reader.load(write(tmp_path, f"{MINIMUM}rotation:\n  maintenance:\n    - {text}\n")).rotation.maintenance

    assert (found.start, found.end, found.days) == (window.start, window.end, window.days)
    assert str(found.zone) == "UTC"


@pytest.mark.parametrize("grace", ["0s", "36h", "90d"])
def test_the_grace_may_be_any_span(tmp_path: Path, grace: str) -> None:
    """Also none at all."""
    rotation = reader.load(write(tmp_path, f"{MINIMUM}rotation: {{grace: {grace}}}\n")).rotation

    assert rotation.grace == {"0s": timedelta(), "36h": timedelta(hours=36), "90d": timedelta(days=90)}[grace]


WINDOW_HOURS = 'from: "02:00"\n      to: "04:00"'


@pytest.mark.parametrize(
    ("line", "text", "expected"),
    [
        (3, "  retire: never", "rotation.retire: true or false is expected, not 'never'"),
        (3, "  grace: 7", "rotation.grace: a duration such as 90s, 10m, 12h or 365d is expected, not '7'"),
        (3, "  grace: [7d]", "rotation.grace: a duration such as 90s, 10m, 12h or 365d is expected"),
        (3, "  confirm: 0s", "rotation.confirm: a duration from 1s to 30d is expected, not '0s'"),
        (3, "  confirm: 31d", "rotation.confirm: a duration from 1s to 30d is expected, not '31d'"),
        (
            3,
            "  grace: \N{FULLWIDTH DIGIT SEVEN}d",
            "rotation.grace: a duration such as 90s, 10m, 12h or 365d is expected, not '\N{FULLWIDTH DIGIT SEVEN}d'",
        ),
        (3, "  confirm: yes", "rotation.confirm: a duration such as 90s, 10m, 12h or 365d is expected"),
        (3, "  inhibit_file: run/busy", "rotation.inhibit_file: an absolute path is expected, not 'run/busy'"),
        (3, "  inhibit_file: 7", "rotation.inhibit_file: an absolute path (put it in quotes) is expected, not '7'"),
        (3, "  inhibit_file: [/run/busy]", "rotation.inhibit_file: an absolute path is expected"),
        (3, "  replaced_by_hand: keep", "rotation.replaced_by_hand: one of adopt, restore is expected, not 'keep'"),
        (3, "  replaced_by_hand: yes", "rotation.replaced_by_hand: one of adopt, restore is expected"),
        (3, "  by_hand: adopt", "rotation.by_hand: there is no such key"),
        (3, "  maintenence: []", "rotation.maintenence: there is no such key; `maintenance` was probably meant"),
        (3, "  maintenance: always", "rotation.maintenance: a list (`- ` lines) is expected, not 'always'"),
        (3, '  maintenance: {from: "02:00"}', "rotation.maintenance: a list (`- ` lines) is expected"),
        (
            4,
            '  maintenance:\n    - from: "2:00"\n      to: "04:00"',
            "rotation.maintenance[0].from: a time of day such as \"02:30\" is expected, not '2:00'",
        ),
        (
            4,
            '  maintenance:\n  - {from: "0\N{FULLWIDTH DIGIT TWO}:00", to: "04:00"}',
            "rotation.maintenance[0].from: a time of day such as \"02:30\" is expected, not '0\uff12:00'",
        ),
        (
            5,
            '  maintenance:\n    - from: "02:00"\n      to: 14:30',
            "rotation.maintenance[0].to: a time of day such as \"02:30\" (put it in quotes) is expected, not '14:30'",
        ),
        (
            5,
            '  maintenance:\n    - from: "02:00"\n      to: "24:00"',
            "rotation.maintenance[0].to: a time of day such as \"02:30\" is expected, not '24:00'",
        ),
        (
            4,
            '  maintenance:\n    - from: "02:00:00"\n      to: "04:00"',
            'rotation.maintenance[0].from: a time of day such as "02:30" is expected',
        ),
        (
            6,
            f"  maintenance:\n    - {WINDOW_HOURS}\n      days: sun",
            "rotation.maintenance[0].days: a list of mon, tue, wed, thu, fri, sat, sun is expected, not 'sun'",
        ),
        (6, f"  maintenance:\n    - {WINDOW_HOURS}\n      days: []", "rotation.maintenance[0].days: a list of mon,"),
        (6, f"  maintenance:\n    - {WINDOW_HOURS}\n      days: [sunday]", "rotation.maintenance[0].days: a list of"),
        (6, f"  maintenance:\n    - {WINDOW_HOURS}\n      days: [[sun]]", "rotation.maintenance[0].days: a list of"),
        (6, f"  maintenance:\n    - {WINDOW_HOURS}\n      days: [6]", "rotation.maintenance[0].days: a list of"),
        (
            6,
            f"  maintenance:\n    - {WINDOW_HOURS}\n      time_zone: ../../etc/passwd",
            "rotation.maintenance[0].time_zone: a time zone such as Europe/Berlin is expected",
        ),
        (
            6,
            f"  maintenance:\n    - {WINDOW_HOURS}\n      time_zone: 2",
            "rotation.maintenance[0].time_zone: a time zone such as Europe/Berlin (put it in quotes) is expected",
        ),
        (
            6,
            f"  maintenance:\n    - {WINDOW_HOURS}\n      zone: UTC",
            "rotation.maintenance[0].zone: there is no such key",
        ),
    ],
)
def test_a_wrong_value_of_a_hold_names_line_key_and_expectation(
    tmp_path: Path, line: int, text: str, expected: str
) -> None:
    """Below `rotation:`, which is the second line of the file."""
    said = complaint(tmp_path, f"{MINIMUM}rotation:\n{text}\n")

    assert said.startswith(f"{tmp_path / 'config.yaml'}:{line}: {expected}")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("name", ["Europe/Atlantis", "Europe", "x" * 300])
def test_a_time_zone_that_this_machine_does_not_have_is_said_and_stops_nothing(tmp_path: Path, name: str) -> None:
    """An update of the system may have taken it away; its hours are UTC's meanwhile, also once read by a child."""
    hours = 'from: "02:00", to: "04:00"'
    loaded = reader.load(write(tmp_path, f"{MINIMUM}rotation: {{maintenance: [{{{hours}, time_zone: {name}}}]}}\n"))
    assert loaded.missing_zones == (f"This machine has no time zone {name!r}: its hours are taken as UTC.",)
    window, sunday = loaded.rotation.maintenance[0], date(2027, 3, 28)
    assert window.occurrence(sunday) == MaintenanceWindow(start=window.start, end=window.end).occurrence(sunday)
    assert pickle.loads(pickle.dumps(loaded)) == loaded  # noqa: S301 - of this very line


def test_a_maintenance_window_without_its_hours_is_refused(tmp_path: Path) -> None:
    """Both are named, and so is which window it is."""
    said = complaint(tmp_path, MINIMUM + 'rotation: {maintenance: [{from: "02:00", to: "04:00"}, {days: [sun]}]}\n')

    assert [line.split(": ", maxsplit=1)[1] for line in said.splitlines()] == [
        "rotation.maintenance[1].from: it is required and missing",
        "rotation.maintenance[1].to: it is required and missing",
    ]


def test_every_complaint_about_windows_comes_at_once(tmp_path: Path) -> None:
    """Each wrong value in each window has its line."""
    text = 'rotation: {maintenance: [{from: 1, to: "x", days: y, time_zone: /z}], grace: g, replaced_by_hand: h}\n'

    assert len(complaint(tmp_path, MINIMUM + text).splitlines()) == 6


@pytest.mark.parametrize("item", ["night", "7", '["02:00", "04:00"]'])
def test_a_maintenance_window_that_is_no_mapping_is_told_first(tmp_path: Path, item: str) -> None:
    """Then what a mapping would have to hold."""
    said = complaint(tmp_path, f"{MINIMUM}rotation:\n  maintenance:\n    - {item}\n").splitlines()

    assert said[0].startswith(f"{tmp_path / 'config.yaml'}:4: rotation.maintenance[0]: a mapping (`key: value` lines)")
    assert [line.rsplit(": ", maxsplit=2)[1] for line in said[1:]] == [
        "rotation.maintenance[0].from",
        "rotation.maintenance[0].to",
    ]
