"""Servers that send too much, too slowly, something else or nothing, and what is told of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from agent.trust.download import MissingError, check_url, plain_url
from support.network.depot import Depot, DepotFault
from support.suite.surroundings import descriptors
from support.unit.trust.download import CONTENT, LIMIT, SECRET, downloader, faulty, read, refusal

if TYPE_CHECKING:
    from pathlib import Path

# -- what comes --------------------------------------------------------------------------------------------------------


def test_a_file_comes_with_its_query_asked_for(depot: Depot) -> None:
    """Whole, and from no other place."""
    assert read(depot) == CONTENT
    assert depot.requests == [f"GET /b.tar?{SECRET}"]


def test_pieces_are_the_whole(depot: Depot, tmp_path: Path) -> None:
    """However many there are."""
    (tmp_path / "b.tar").write_bytes(CONTENT * 10_000)
    pieces = list(downloader().pieces(f"{depot.url}b.tar"))
    assert b"".join(pieces) == CONTENT * 10_000
    assert len(pieces) > 1


def test_one_downloader_gets_several_files(depot: Depot) -> None:
    """Each over a connection of its own."""
    one = downloader()
    assert [one.read(f"{depot.url}b.tar", LIMIT) for _ in range(3)] == [CONTENT] * 3


def test_an_empty_file_is_a_file(depot: Depot, tmp_path: Path) -> None:
    """What that means is for others to say."""
    (tmp_path / "b.tar").write_bytes(b"")
    assert read(depot) == b""


def test_the_limit_is_allowed_and_not_a_byte_more(depot: Depot, tmp_path: Path) -> None:
    """Whatever the server declares."""
    (tmp_path / "b.tar").write_bytes(bytes(LIMIT))
    assert len(read(depot)) == LIMIT
    (tmp_path / "b.tar").write_bytes(bytes(LIMIT + 1))
    error = refusal(lambda: read(depot))
    assert (error.code, error.passing) == ("too-large", False)
    assert str(error) == f"{depot.url}b.tar sends more than the {LIMIT} bytes allowed."


def test_what_never_ends_is_given_up_at_the_limit(depot: Depot) -> None:
    """And the connection is closed."""
    assert faulty(depot, "endless").code == "too-large"


def test_a_reader_that_stops_early_closes_the_connection(depot: Depot) -> None:
    """Nothing is left open; the depot would say so."""
    depot.faults["/b.tar"] = DepotFault.parse("endless")
    pieces = downloader().pieces(f"{depot.url}b.tar")
    assert next(pieces)
    pieces.close()  # type: ignore[attr-defined] # a generator's


# -- statuses and redirections -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_missing(status: int, depot: Depot) -> None:
    """A presigned URL that has ended is answered with 403."""
    error = faulty(depot, f"status:{status}")
    assert isinstance(error, MissingError)
    assert (error.code, error.passing) == ("missing", False)
    assert str(error) == f"{depot.url}b.tar is not there, or not any more ({status})."
    assert error.hint == "A presigned URL has an end; make a new one."


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
def test_any_other_status_may_pass(status: int, depot: Depot) -> None:
    """It says nothing about the bundle."""
    error = faulty(depot, f"status:{status}")
    assert not isinstance(error, MissingError)
    assert (error.code, error.passing) == ("unavailable", True)
    assert str(error) == f"{depot.url}b.tar answers with status {status}."


def test_a_redirection_to_https_is_followed(depot: Depot, tmp_path: Path) -> None:
    """Also to another host, for the signature is what is trusted."""
    (tmp_path / "other.tar").write_bytes(b"other")
    depot.faults["/b.tar"] = DepotFault.parse(f"redirect:{depot.url}other.tar?{SECRET}")
    assert read(depot) == b"other"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/x?" + SECRET,
        "https://localhost:99999/x?" + SECRET,
        "https://localhost:0/x?" + SECRET,
    ],
)
def test_a_redirection_to_anything_else_is_refused(url: str, depot: Depot) -> None:
    """Also when the first step was sound."""
    error = faulty(depot, f"redirect:{url}")
    assert (error.code, error.passing) == ("url", False)
    assert len(depot.requests) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://localhost/x", "gopher://localhost", "data:,x"])
def test_a_redirection_to_another_scheme_reads_nothing(url: str, depot: Depot) -> None:
    """Least of all a file of the gateway's."""
    assert faulty(depot, f"redirect:{url}").code == "url"
    assert len(depot.requests) == 1


def test_a_place_is_asked_for_as_the_server_spelt_it(depot: Depot, tmp_path: Path) -> None:
    """Many spell a space as a space, and a name in its own letters; a place without a host is on the same one."""
    (tmp_path / "Wurzeln für alle.tar").write_bytes(b"other")
    depot.faults["/b.tar"] = DepotFault.parse("redirect:/Wurzeln fÃ¼r alle.tar?" + SECRET)  # UTF-8, as ISO 8859-1
    assert read(depot) == b"other"
    assert depot.requests[1] == f"GET /Wurzeln%20f%C3%BCr%20alle.tar?{SECRET}"


def test_a_circle_of_redirections_has_an_end(depot: Depot) -> None:
    """After a few rounds."""
    error = faulty(depot, f"redirect:{depot.url}b.tar?{SECRET}")
    assert (error.code, error.passing) == ("unavailable", True)
    assert len(depot.requests) < 20


# -- URLs --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://depot.test",
        "https://depot.test/",
        "https://depot.test:8443/a/b.tar?X-Amz-Expires=60&a=%20",
        "HTTPS://depot.test/x",
        "https://[::1]/x",
        "https://192.0.2.1/x",
    ],
)
def test_a_sound_url_passes(url: str) -> None:
    """Nothing is looked up. The same with a fragment does not pass, so it was the URL that was judged."""
    check_url(url)
    assert refusal(lambda: check_url(f"{url}#a")).code == "url"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "depot.test/x",
        "http://depot.test/x",
        "file:///etc/passwd",
        "ftp://depot.test/x",
        "https:",
        "https://",
        "https:///x",
        "https://:443/x",
        "https://depot.test:0/x",
        "https://depot.test:99999/x",
        "https://depot.test:port/x",
        "https://[::1/x",
        "https://depot.test/a b",
        "https://depot.test/a\r\nX: y",
        "https://depot.test/a\0",
        " https://depot.test/x",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    """And not shown: what is no URL may be a secret in whole."""
    error = refusal(lambda: check_url(url))
    assert (error.code, error.passing) == ("url", False)
    assert str(error) == "The bundle's URL is not one that begins with https:// and names a host."


@pytest.mark.parametrize("url", ["https://localhost:1/bündel.tar", "https://user:word@localhost:1/x"])
def test_a_url_that_can_never_be_asked_for_is_refused(url: str) -> None:
    """What is not spelt in ASCII, or names a user, will not work later either."""
    error = refusal(lambda: downloader().read(url, LIMIT))
    assert (error.code, error.passing) == ("url", False)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://depot.test/a/b.tar?{SECRET}", "https://depot.test/a/b.tar"),
        (f"https://depot.test:8443/b.tar?{SECRET}#{SECRET}", "https://depot.test:8443/b.tar"),
        (f"https://{SECRET}:{SECRET}@depot.test/b.tar", "https://depot.test/b.tar"),
    ],
)
def test_a_url_is_shown_without_what_may_be_a_secret(url: str, shown: str) -> None:
    """Host and path, and a port where there is one."""
    assert plain_url(url) == shown


def test_nothing_is_left_open(depot: Depot) -> None:
    """Whatever became of a download, also as long as a caller holds the error."""
    before = descriptors()
    faults = ("status:503", "truncated", "redirect:http://localhost/", "redirect:ftp://x/", "redirect:https://[::1/")
    held = [faulty(depot, fault) for fault in (*faults, f"redirect:{depot.url}b.tar")]
    end = time.monotonic() + 60
    while descriptors() - before and time.monotonic() < end:  # the depot closes its own ends a little later
        threading.Event().wait(0.01)
    assert descriptors() - before == set()
    assert len(held) == len(faults) + 1
