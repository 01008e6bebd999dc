from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.text import clock_time, counted, duration, in_shell, seconds_of, sentence_of
from support import make
from support.make import NOW


def test_an_instant_is_told_in_utc_to_the_second() -> None:
    """Whatever its zone was; what is smaller than a second is cut."""
    local = datetime(2027, 3, 1, 14, 5, 6, 999_999, tzinfo=timezone(timedelta(hours=2)))

    assert clock_time(NOW) == "2027-03-01 12:00:00 UTC"
    assert clock_time(local) == "2027-03-01 12:05:06 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.02, "20 ms"),
        (0.0999, "100 ms"),
        (0.1, "0.1 s"),
        (0.3, "0.3 s"),
        (1, "1 s"),
        (1.5, "1.5 s"),
        (90, "90 s"),
        (119, "119 s"),
        (120, "2 min"),
        (600, "10 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (5 * 3600 + 1700, "5 h"),
        (5 * 3600 + 1900, "6 h"),
        (2 * 86400 - 1, "48 h"),
        (2 * 86400, "2 d"),
        (30 * 86400, "30 d"),
        (365 * 86400, "365 d"),
    ],
)
def test_a_span_is_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    """From two of a unit on that unit is used, rounded."""
    assert duration(timedelta(seconds=seconds)) == text


@make.MANY
@given(span=st.timedeltas(timedelta(), timedelta(days=10_000)))
def test_what_is_told_of_a_span_is_no_further_off_than_half_a_unit(span: timedelta) -> None:
    """Any span can be told, and read back it is nearly the same."""
    number, unit = duration(span).split(" ")
    size = timedelta(seconds={"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}[unit])

    assert abs(float(number) * size - span) <= size / 2
    assert unit in {"ms", "s"} or float(number) >= 2


@make.FEW
@given(at=st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_what_is_told_of_an_instant_can_be_read_back(at: datetime) -> None:
    """The text sorts as the instants do and names its zone."""
    assert datetime.strptime(clock_time(at), "%Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC) == at.replace(microsecond=0)


def test_what_is_counted_has_its_number() -> None:
    """One of a thing is no plural; a word that needs more than an s says it."""
    assert [counted(number, "key") for number in (0, 1, 2)] == ["0 keys", "1 key", "2 keys"]
    assert counted(2, "policy", "policies") == "2 policies"


@given(st.text())
def test_a_word_is_the_same_to_a_shell_as_to_a_person(word: str) -> None:
    """A command that is advised is typed, or pasted, as it stands."""
    assert shlex.split(in_shell(word)) == [word]


@pytest.mark.parametrize("plain", ["/var/lib/iot-cert-agent", "./gw-0042_a.pem", "/etc/über", "a:b@c%d,e+f=g"])
def test_a_word_that_needs_no_quotes_has_none(plain: str) -> None:
    """As nearly every path."""
    assert in_shell(plain) == plain


def test_a_sentence_begins_with_a_large_letter() -> None:
    """And what is large, small or nothing after it stays so."""
    given = ("the AWS root", "A", "", "ölmühle")
    assert [sentence_of(each) for each in given] == ["The AWS root", "A", "", "Ölmühle"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("12h", 43_200), ("7d", 604_800), ("30s", 30), ("0s", 0)]
    + [(wrong, 0) for wrong in ("", "m", "7", "7w", "-7d", "1.5h", "7 d", "\u0663d\u0661", "9999999999999d")],
)
def test_a_duration_is_read_or_is_none(text: str, seconds: int) -> None:
    """A number and one unit."""
    assert seconds_of(text) == seconds
