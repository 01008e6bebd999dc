"""Refused for its target: another file, one that is cut off or has no end, and one that is not listed or not there."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from agent.trust.tuf_client import LIMITS, MAX_TARGET, Files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.publishing.signing import Publisher

from support.publishing.tuf_gateway import BundleGateway, published, told


def target_name(publisher: Publisher) -> str:
    """Return the name of the one target file."""
    return next(name for name in publisher.files if name.startswith("targets/"))


def test_another_target_of_the_same_length_is_refused() -> None:
    """One changed byte."""
    publisher, gateway = published()
    publisher.files[target_name(publisher)] = b"fir5t"
    expected, got = hashlib.sha256(b"first").hexdigest(), hashlib.sha256(b"fir5t").hexdigest()
    message = (
        "A file of the bundle is not the one that was signed: "
        f"Observed hash {got} does not match expected hash {expected}."
    )
    assert told(gateway.refuses(publisher.files)) == ("wrong-hash", message, "")


def test_a_target_that_is_cut_off_is_refused() -> None:
    """Shorter than was signed."""
    publisher, gateway = published()
    publisher.files[target_name(publisher)] = b"firs"
    message = (
        "A file of the bundle has another length than was signed: Observed length 4 does not match expected length 5."
    )
    assert told(gateway.refuses(publisher.files)) == ("wrong-length", message, "")


class Endless:
    """A repository that never stops sending one of its files."""

    def __init__(self, files: Mapping[str, bytes], name: str) -> None:
        self._files = files
        self._name = name
        self.sent = 0

    def pieces(self, name: str) -> Iterator[bytes]:
        """Give a file, and more of it and more."""
        yield from Files(self._files).pieces(name)
        while name == self._name:
            self.sent += 65_536
            yield bytes(65_536)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "anchors"])
def test_a_file_without_an_end_is_given_up(role: str) -> None:
    """After what it may have, and no later."""
    publisher, gateway = published()
    name = target_name(publisher) if role == "anchors" else publisher.name_of(role)
    source = Endless(publisher.files, name)
    code, message, _ = told(gateway.refuses(source))
    assert code == "endless"
    assert message.startswith("A file of the bundle does not end where it should: Downloaded ")
    assert source.sent <= LIMITS.targets_max_length + 65_536


def test_a_root_without_an_end_is_given_up() -> None:
    """The next root is asked for before anything is known of it."""
    publisher, gateway = published()
    publisher.rotate()
    source = Endless(publisher.files, "metadata/2.root.json")
    assert gateway.refuses(source).code == "endless"
    assert source.sent <= LIMITS.root_max_length + 65_536


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_metadata_may_have_its_limit_and_not_a_byte_more(role: str) -> None:
    """A list that says no length may not be of any."""
    publisher, gateway = published()
    name, limit = publisher.name_of(role), int(getattr(LIMITS, f"{role}_max_length"))
    publisher.files[name] = publisher.files[name].ljust(limit)
    assert gateway.read(publisher.files).version == 1
    publisher.files[name] += b" "
    message = (
        "A file of the bundle does not end where it should: "
        f"Downloaded {limit + 1} bytes exceeding the maximum allowed length of {limit}."
    )
    assert told(BundleGateway(publisher.first_root).refuses(publisher.files)) == ("endless", message, "")


def test_a_target_may_have_its_limit_and_not_a_byte_more() -> None:
    """What is too large is refused by its signed length, and not asked for."""
    publisher, gateway = published()
    assert len(gateway.read(publisher.publish(bytes(MAX_TARGET))).data) == MAX_TARGET
    files = publisher.publish(bytes(MAX_TARGET + 1))
    without = {name: data for name, data in files.items() if not name.startswith("targets/")}
    message = f"anchors.pem has {MAX_TARGET + 1} bytes and {MAX_TARGET} are allowed."
    assert told(gateway.refuses(without)) == ("too-large", message, "")


def test_a_target_that_is_not_listed_is_refused() -> None:
    """Though the repository be sound."""
    publisher, gateway = published()
    message = "The bundle's signers list no 'roots.pem'."
    assert told(gateway.refuses(publisher.files, "roots.pem")) == ("no-target", message, "")


@pytest.mark.parametrize("part", ["metadata/timestamp.json", "metadata/1.snapshot.json", "metadata/1.targets.json"])
def test_a_part_that_is_missing_is_named(part: str) -> None:
    """The packer of the bundle reads what to add."""
    publisher, gateway = published()
    del publisher.files[part]
    assert told(gateway.refuses(publisher.files)) == ("missing", f"The bundle lacks {part}.", "")


def test_a_target_that_is_listed_and_missing_is_named() -> None:
    """By the name that it must have in the bundle."""
    publisher, gateway = published()
    name = target_name(publisher)
    del publisher.files[name]
    assert told(gateway.refuses(publisher.files)) == ("missing", f"The bundle lacks {name}.", "")
