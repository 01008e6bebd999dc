"""The clock: what is out of date by one that may be wrong waits, and nothing is believed of one that must be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from tuf.api import exceptions
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from agent.core.timekeeping import ClockState, Reading
from agent.trust.tuf_client import judge_by
from support.publishing import signing
from support.publishing.signing import Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


from support.publishing.tuf_gateway import DAY, NOW, SURE, published, seen

UNSURE = replace(SURE, state=ClockState.UNSYNCHRONISED)
WRONG = Reading(now=datetime(1970, 1, 1, tzinfo=UTC), state=ClockState.IMPLAUSIBLE, floor=NOW)


@pytest.mark.parametrize("role", signing.ROLES)
def test_what_is_out_of_date_by_an_unsynchronised_clock_waits(role: str) -> None:
    """A clock that runs ahead must not refuse a good bundle."""
    publisher, gateway = published()
    gateway.clock = UNSURE
    error = gateway.refuses(publisher.expire(role, NOW - DAY))
    assert (error.code, error.passing) == ("clock", True)
    assert str(error).startswith("By the clock, which is not synchronised, ")
    assert str(error).endswith("is expired, so the bundle cannot be judged yet.")
    assert "timedatectl" in error.hint


def test_an_unsure_clock_is_enough_for_what_is_in_date() -> None:
    """It is at or after the floor."""
    publisher, gateway = published()
    gateway.clock = UNSURE
    assert gateway.read(publisher.files).version == 1


@pytest.mark.parametrize("attack", ["rollback", "forgery", "garbage"])
def test_an_unsure_clock_excuses_nothing_else(attack: str) -> None:
    """Only what is out of date has to wait."""
    publisher, gateway, kept = seen(2)
    gateway.clock = UNSURE
    bad = {"rollback": kept[0], "garbage": dict.fromkeys(publisher.files, b"{}")}
    publisher.write("timestamp", signers=[signing.ed25519()])
    assert not gateway.refuses(bad.get(attack, publisher.files)).passing


class Untouchable:
    """A repository that no user may look at."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """Fail the test."""
        raise AssertionError(f"{name} was looked at")


def test_by_an_impossible_clock_nothing_is_looked_at() -> None:
    """Also not what would be refused for another reason."""
    _, gateway, _ = seen()
    before, gateway.clock = gateway.memory, WRONG
    error = gateway.refuses(Untouchable())
    assert (error.code, error.passing) == ("clock", True)
    assert str(error) == "The clock shows 1970-01-01, which cannot be, so the bundle cannot be judged yet."
    assert gateway.memory == before


def test_a_clock_that_was_set_back_does_not_revive_what_is_older() -> None:
    """Versions are a floor of their own, which no clock moves."""
    publisher, gateway, kept = seen(2)
    gateway.clock = replace(SURE, now=NOW - DAY)
    assert gateway.refuses(kept[0]).code == "rollback"
    assert gateway.read(publisher.files).version == 2


@pytest.mark.parametrize(("years", "expected"), [(-20, None), (0, None), (20, exceptions.ExpiredMetadataError)])
def test_the_locked_library_judges_by_the_instant_that_is_given(
    years: int, expected: type[Exception] | None, tmp_path: Path
) -> None:
    """And by no other clock: python-tuf has no argument for it, so a new version must pass here first."""
    publisher = Publisher(NOW)
    publisher.publish(b"x")
    urls = "https://depot.test/metadata/", str(tmp_path), "https://depot.test/targets/"
    fetcher = FromFiles(publisher.files)
    updater = Updater(str(tmp_path), *urls, fetcher=fetcher, bootstrap=publisher.first_root)
    judge_by(updater, NOW + timedelta(days=365 * years))
    if expected is None:
        updater.refresh()
    else:
        with pytest.raises(expected):
            updater.refresh()


class FromFiles(FetcherInterface):
    """The library's own way to files in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield self._files[url.removeprefix("https://depot.test/")]
        except KeyError:
            raise exceptions.DownloadHTTPError("none", 404) from None


def test_a_library_that_keeps_its_time_elsewhere_is_an_error_and_not_ignored() -> None:
    """Else expiry would be judged by the system's clock unnoticed."""

    class Changed:
        _trusted_set = object()

    with pytest.raises(RuntimeError, match="reference time"):
        judge_by(Changed(), NOW)  # type: ignore[arg-type]
