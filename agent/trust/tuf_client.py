"""Signed bundles of trust anchors: TUF repositories, verified by python-tuf from one trusted `root.json`.

What python-tuf decides is left to it: thresholds, the succession of keys, rollback, freezing, mix-and-match, hashes and
lengths. This module gives it files from memory or over HTTPS, an instant to judge by, and what was seen before; and it
turns each refusal into a sentence.

Rules:

* The library keeps its memory in a directory and does not sync it. It works on a copy in a temporary directory here,
  and `BundleReader.memory` is what the caller makes durable, also after a refusal: a version that was seen once is a
  floor for ever.
* Metadata that is out of date by a clock that is not synchronised is not refused; the decision waits.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuf.api import exceptions
from tuf.api.serialization import DeserializationError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from agent.core.frozen import frozen
from agent.core.jsonio import Node, PlainError
from agent.core.text import printable
from agent.core.timekeeping import ClockState
from agent.errors import BundleError
from agent.trust.download import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from agent.core.timekeeping import Reading
    from agent.trust.download import Downloader

METADATA, TARGETS = "metadata/", "targets/"

MAX_TARGET = 1_048_576  # bytes; what a trust bundle may have
MAX_VERSION = 10**9
MAX_COMPATIBLE = 100
MAX_DELEGATED = 2_097_152  # bytes of lists below `targets` that are remembered
_MOST = 200  # characters of a name or a message that are repeated

_PRODUCT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ROOTS = "root_history"
_FLOORS = {"timestamp.json", "snapshot.json", "targets.json"}
_BASE = "repository:///"

LIMITS = UpdaterConfig(
    max_root_rotations=64,
    max_delegations=8,
    root_max_length=65_536,
    timestamp_max_length=16_384,
    snapshot_max_length=262_144,
    targets_max_length=1_048_576,
)


class Source(Protocol):
    """Where the files of a repository come from."""

    def pieces(self, name: str) -> Iterator[bytes]:
        """Return a file piece by piece, by its name within the repository.

        Raises:
            MissingError: There is no such file.
            BundleError: It cannot be had.
        """


class Files:
    """A repository whose files are in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def pieces(self, name: str) -> Iterator[bytes]:
        """See `Source`."""
        if name not in self._files:
            raise MissingError("missing", f"The bundle lacks {printable(name, _MOST)}.")
        yield self._files[name]


class Remote:
    """A repository below a URL that ends with a slash."""

    def __init__(self, base: str, downloader: Downloader) -> None:
        self._base = base
        self._downloader = downloader

    def pieces(self, name: str) -> Iterator[bytes]:
        """See `Source`."""
        return self._downloader.pieces(f"{self._base}{name}")


@frozen
class SignedBundle:
    """What a repository's signers vouch for.

    Attributes:
        data: The target, to the byte that was signed.
        version: The version of the signed list of targets.
        issued_at: When it was published, as its publisher says; None when it does not say.
        compatible: The products it is meant for; empty for all.
    """

    data: bytes
    version: int
    issued_at: datetime | None
    compatible: tuple[str, ...]


class _Fetcher(FetcherInterface):
    """Hands the repository's files to the library, and remembers why one could not be had."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.problem: BundleError | None = None

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield from self._source.pieces(url.removeprefix(_BASE))
        except MissingError as error:
            self.problem = error
            raise exceptions.DownloadHTTPError(str(error), 404) from error
        except BundleError as error:
            self.problem = error
            raise exceptions.DownloadError(str(error)) from error


class BundleReader:
    """Verifies bundles against one trusted root.

    Attributes:
        memory: The verified metadata so far, by file name; the caller keeps it.
    """

    def __init__(self, root: bytes, memory: Mapping[str, bytes], clock: Reading) -> None:
        """Begin.

        Args:
            root: The `root.json` that was put on the gateway at manufacture, or by an OS image since.
            memory: What an earlier reader left.
            clock: The clock; expiry is judged by it.
        """
        self._root = root
        self._clock = clock
        self.memory: dict[str, bytes] = dict(memory)

    def read(self, source: Source, target: str) -> SignedBundle:
        """Verify a repository and return its target.

        Raises:
            BundleError: It is refused, or cannot be judged now; the code says why.
        """
        if not self._clock.believable:
            raise _wait_for_clock(f"The clock shows {self._clock.now:%Y-%m-%d}, which cannot be")
        fetcher = _Fetcher(source)
        with self._updater(fetcher) as updater, self._explained(fetcher):
            updater.refresh()
            _refuse_twins(updater)
            info = updater.get_targetinfo(target)
            if info is None:
                raise BundleError("no-target", f"The bundle's signers list no {target!r}.")
            if info.length > MAX_TARGET:
                raise BundleError("too-large", f"{target} has {info.length} bytes and {MAX_TARGET} are allowed.")
            version = _version_of(updater)
            data = Path(updater.download_target(info)).read_bytes()
            issued_at, compatible = _custom(info.custom)
            return SignedBundle(data=data, version=version, issued_at=issued_at, compatible=compatible)

    @contextmanager
    def _updater(self, fetcher: FetcherInterface) -> Iterator[Updater]:
        with _workplace() as name:
            directory = Path(name, "metadata")
            with _with_room():
                _unpack(self.memory, directory)
            try:
                with self._explained(None):
                    updater = Updater(
                        str(directory),
                        _BASE + METADATA,
                        name,
                        _BASE + TARGETS,
                        fetcher=fetcher,
                        config=LIMITS,
                        bootstrap=self._root,
                    )
                judge_by(updater, self._clock.now)
                yield updater
            finally:
                self.memory = _packed(directory)

    @contextmanager
    def _explained(self, fetcher: _Fetcher | None) -> Iterator[None]:
        """Turn the library's errors into ours; without a fetcher it is the trusted root that is wrong."""
        try:
            yield
        except (exceptions.RepositoryError, exceptions.DownloadError, DeserializationError) as error:
            if fetcher is None:
                hint = "`trust.root` must name the root.json that the bundles' signers gave out."
                raise BundleError("trusted-root", f"The trusted root.json is not usable: {_short(error)}.", hint=hint)\
                    from None  # fmt: skip
            raise self._refusal(error, fetcher) from None
        except OSError as error:
            raise _no_room(error) from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            # The library checks signatures before it reads, but what a signer of another kind wrote may be anything.
            raise BundleError("malformed", f"The bundle's metadata cannot be read ({type(error).__name__}).") from None

    def _refusal(self, error: Exception, fetcher: _Fetcher) -> BundleError:
        if isinstance(error, exceptions.ExpiredMetadataError) and self._clock.state is not ClockState.SYNCHRONISED:
            return _wait_for_clock(f"By the clock, which is not synchronised, {_short(error)}")
        if isinstance(error, exceptions.BadVersionNumberError) and _ABOUT_PARTS.match(str(error)):
            return _worded(_MIXED, error)
        found = next((words for kind, words in _WORDS.items() if isinstance(error, kind)), None)
        return _worded(found, error) if found else _transport(error, fetcher)


# "Expected targets.json version 1, got 2." is about a list that went back, all others about one that does not fit.
_ABOUT_PARTS = re.compile(r"Expected (?!.*\.json version)")
_WORDS_FEW = "It must be signed by keys that the root.json on this gateway leads to."

# Code, sentence, and what to do; each sentence is followed by the library's own words.
_WORDS = {
    exceptions.ExpiredMetadataError: (
        "expired",
        "The bundle is out of date",
        "Ship a copy that was signed again since; an attacker may be holding back newer ones.",
    ),
    exceptions.UnsignedMetadataError: (
        "threshold",
        "The bundle is not signed by enough of its keys",
        _WORDS_FEW,
    ),
    exceptions.BadVersionNumberError: (
        "rollback",
        "The bundle is older than one that was seen here",
        "Ship the newest one; this gateway never goes back.",
    ),
}
_MIXED = ("mix-and-match", "The bundle's parts are of different versions", "Ship all files of one publication.")


def _worded(words: tuple[str, str, str], error: Exception) -> BundleError:
    code, sentence, hint = words
    return BundleError(code, f"{sentence}: {_short(error)}.", hint=hint)


def _transport(error: Exception, fetcher: _Fetcher) -> BundleError:
    match error:
        case exceptions.LengthOrHashMismatchError() if "length" in str(error).lower():
            return BundleError("wrong-length", f"A file of the bundle has another length than was signed: "
                               f"{_short(error)}.")  # fmt: skip
        case exceptions.LengthOrHashMismatchError():
            return BundleError("wrong-hash", f"A file of the bundle is not the one that was signed: {_short(error)}.")
        case exceptions.DownloadLengthMismatchError():
            return BundleError("endless", f"A file of the bundle does not end where it should: {_short(error)}.")
        case exceptions.DownloadError() if fetcher.problem is not None:
            return fetcher.problem
        case _:
            return BundleError("malformed", f"The bundle's metadata is not sound: {_short(error)}.")


def _wait_for_clock(why: str) -> BundleError:
    hint = "Nothing is decided before the clock is set (`timedatectl`), or vouched for with `vouched_clock: true`."
    return BundleError("clock", f"{why}, so the bundle cannot be judged yet.", hint=hint, passing=True)


@contextmanager
def _with_room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _no_room(error) from None


@contextmanager
def _workplace() -> Iterator[str]:
    with _with_room():
        made = tempfile.TemporaryDirectory(prefix="iot-cert-bundle-")
    with made as name:
        yield name


def _no_room(error: OSError) -> BundleError:
    """Return what is told when it is the gateway's disk that fails, unless a name in the bundle is beyond any disk."""
    why = os.strerror(error.errno) if error.errno else type(error).__name__
    if error.errno in {errno.ENAMETOOLONG, errno.EINVAL}:
        return BundleError("malformed", f"The bundle's metadata cannot be kept ({why}).")
    hint = f"Free some space in {tempfile.gettempdir()}; the bundle is judged again by itself."
    return BundleError("no-room", f"The bundle cannot be unpacked to be judged ({why}).", hint=hint, passing=True)


def _refuse_twins(updater: Updater) -> None:
    """Refuse a root that names one key under two ids: the library would count its signature twice."""
    keys = [str(key.keyval) for key in updater._trusted_set.root.keys.values()]  # noqa: SLF001 - as in `judge_by`
    if len(set(keys)) != len(keys):
        raise BundleError("threshold", "The bundle's root.json names one key under two ids.", hint=_WORDS_FEW)


def judge_by(updater: Updater, now: datetime) -> None:
    """Have the library judge expiry by this instant; it takes the system's clock and has no argument for another.

    Raises:
        RuntimeError: This version of the library keeps it elsewhere.
    """
    trusted: Any = updater._trusted_set  # noqa: SLF001 - see above; the version is locked, and a test holds it to this
    if not hasattr(trusted, "reference_time"):
        raise RuntimeError("python-tuf keeps its reference time elsewhere")
    trusted.reference_time = now


def _version_of(updater: Updater) -> int:
    version: int = updater._trusted_set.targets.version  # noqa: SLF001 - as in `judge_by`
    if not 0 < version <= MAX_VERSION:
        raise BundleError("version", f"The bundle's version, {str(version)[:40]}, is beyond what is allowed.")
    return version


def _custom(custom: Mapping[str, Any] | None) -> tuple[datetime | None, tuple[str, ...]]:
    """Return when a target was issued and for which products, as our own publisher notes it; others need not."""
    node = Node(dict(custom or {}), "custom")
    compatible = (custom or {}).get("compatible", [])
    sound = isinstance(compatible, list) and len(compatible) <= MAX_COMPATIBLE
    if not sound or not all(isinstance(item, str) and _PRODUCT.fullmatch(item) for item in compatible):
        raise BundleError("malformed", "The bundle's list of compatible products is no list of names.")
    try:
        return node.optional_time("issued"), tuple(compatible)
    except PlainError as error:
        raise BundleError("malformed", f"What the bundle says about itself cannot be read: {error}.") from None


def _short(error: Exception) -> str:
    """Return a message of the library's on one line, bounded; it may quote what an attacker wrote."""
    return printable(str(error).split("\n", maxsplit=1)[0], _MOST).rstrip(". ") or type(error).__name__


def _unpack(memory: Mapping[str, bytes], directory: Path) -> None:
    (directory / _ROOTS).mkdir(parents=True)
    for name, data in memory.items():
        (directory / name).write_bytes(data)


def _packed(directory: Path) -> dict[str, bytes]:
    """Return the floors, and of the lists that others sign below `targets` as much as there is room for.

    The snapshot holds the versions of those lists, so one that is forgotten is read again and lets nothing older in.
    """
    found = [*directory.glob("*.json"), *(directory / _ROOTS).glob("*.root.json")]
    kept: dict[str, bytes] = {}
    room = MAX_DELEGATED
    for path in sorted(path for path in found if not path.is_symlink()):
        floor = path.parent.name == _ROOTS or path.name in _FLOORS
        data = path.read_bytes()
        if not floor:
            room -= len(data)
        if floor or room >= 0:
            kept[str(path.relative_to(directory))] = data
    return kept
