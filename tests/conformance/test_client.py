"""The executable for the public TUF conformance suite, over HTTP.

The suite starts a process each time; two tests do so too. To the others its command line is given in this process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.publishing import signing
from support.publishing.signing import Habits, Publisher

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

CLIENT = Path(__file__).with_name("client")
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
TIMESTAMP = "metadata/timestamp.json"


@cache
def client() -> ModuleType:
    """Return the executable as a module, which reads what it needs once."""
    loader = SourceFileLoader("conformance_client", str(CLIENT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def started(words: list[str]) -> int:
    """Start the executable, and return its exit code."""
    done = subprocess.run([sys.executable, CLIENT, *words], check=False, timeout=60, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    return done.returncode


@dataclass
class Suite:
    """A client under test with its directories, and a repository that it is pointed at."""

    path: Path
    url: str
    publisher: Publisher
    requests: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    started: bool = False

    def run(self, verb: str, *more: str, target: str = signing.TARGET) -> int:
        """Run the client, and return its exit code."""
        where = [f"--metadata-dir={self.path}/metadata"]
        if verb != "init":
            where += ["--metadata-url", f"{self.url}/metadata"]
        if verb == "download":
            where += ["--target-name", target, f"--target-dir={self.path}/targets"]
            where += ["--target-base-url", f"{self.url}/targets"]
        self.requests.clear()
        words = [*where, verb, *more]
        return started(words) if self.started else int(client().main(words))

    def init(self, root: bytes | None = None) -> int:
        """Give the client its trusted root."""
        (self.path / "initial_root.json").write_bytes(root or self.publisher.first_root)
        return self.run("init", f"{self.path}/initial_root.json")

    def refresh(self) -> int:
        """Serve what is published now, and have the client look at it."""
        self.serve(self.publisher.files)
        return self.run("refresh")

    def serve(self, files: dict[str, bytes]) -> None:
        """Serve these files and no others."""
        self.files.clear()
        self.files.update(files)

    @property
    def trusted(self) -> dict[str, int]:
        """The version of each role that the client trusts."""
        found = {}
        for path in sorted((self.path / "metadata").glob("*.json")):
            found[path.stem] = int(json.loads(path.read_bytes())["signed"]["version"])
        return found

    @property
    def downloaded(self) -> list[bytes]:
        """What the client has downloaded."""
        return [path.read_bytes() for path in sorted((self.path / "targets").iterdir())]


@contextmanager
def serving(files: dict[str, bytes], requests: list[str]) -> Iterator[str]:
    """Serve files from memory over HTTP, and give the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path.removeprefix("/r/"))
            data = files.get(requests[-1])
            self.send_response(200 if data is not None else 404)
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/r"
        finally:
            server.shutdown()
            thread.join()


def publisher_of(**habits: Any) -> Publisher:
    """Return a publisher with one publication."""
    made = Publisher(NOW, Habits(**habits))
    made.publish(b"first")
    return made


@pytest.fixture
def suite(tmp_path: Path) -> Iterator[Suite]:
    """Return a client that has its root, and a repository with one publication."""
    for name in ("metadata", "targets"):
        (tmp_path / name).mkdir()
    files: dict[str, bytes] = {}
    requests: list[str] = []
    with serving(files, requests) as url:
        made = Suite(tmp_path, url, publisher_of(), requests, files)
        assert made.init() == 0
        yield made


def test_it_initialises_without_a_request(suite: Suite) -> None:
    """The trusted root is there, under the name that the suite looks for, to the byte."""
    assert suite.requests == []
    assert (suite.path / "metadata" / "root.json").read_bytes() == suite.publisher.first_root
    assert suite.trusted == {"root": 1}
    assert suite.run("init", str(suite.path / "none.json")) == 1


def test_it_refreshes_with_these_requests_and_no_others(suite: Suite) -> None:
    """And once more with fewer, since it has the lists already."""
    assert suite.refresh() == 0
    assert suite.requests == ["metadata/2.root.json", TIMESTAMP, "metadata/1.snapshot.json", "metadata/1.targets.json"]
    assert suite.trusted == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
    for role in ("snapshot", "targets"):
        kept = (suite.path / "metadata" / f"{role}.json").read_bytes()
        assert kept == suite.publisher.files[f"metadata/1.{role}.json"]
    assert suite.refresh() == 0
    assert suite.requests == ["metadata/2.root.json", TIMESTAMP]


def test_it_downloads_a_target_once(suite: Suite) -> None:
    """Also one in a folder; and again only when it changed. The suite has a process for each; here the first."""
    suite.started = True
    files = suite.publisher.publish(b"deep", name="path/to/artifact.txt")
    suite.serve(files)
    assert suite.run("download", target="path/to/artifact.txt") == 0
    assert suite.downloaded == [b"deep"]
    suite.started = False
    assert suite.run("download", target="path/to/artifact.txt") == 0
    assert not [name for name in suite.requests if name.startswith("targets/")]
    suite.serve(suite.publisher.publish(b"deeper", name="path/to/artifact.txt"))
    assert suite.run("download", target="path/to/artifact.txt") == 0
    assert suite.downloaded == [b"deeper"]


def test_a_target_that_is_not_listed_still_refreshes(suite: Suite) -> None:
    """It fails, in a process of its own too, and what is trusted is new."""
    suite.started = True
    suite.serve(suite.publisher.files)
    assert suite.run("download", target="nonexistent artifact") == 1
    assert suite.downloaded == []
    assert suite.trusted == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}


@pytest.mark.parametrize("served", [b"fir5t", b"first and more", b""])
def test_a_target_that_was_replaced_is_not_kept(suite: Suite, served: bytes) -> None:
    """Whatever stands in its place."""
    files = suite.publisher.files
    suite.serve({name: served if name.startswith("targets/") else data for name, data in files.items()})
    assert suite.run("download") == 1
    assert suite.downloaded == []


@pytest.mark.parametrize("role", signing.ROLES)
def test_what_is_out_of_date_is_refused(suite: Suite, role: str) -> None:
    """And what comes after it is not."""
    assert suite.refresh() == 0
    suite.publisher.expire(role, NOW - DAY)
    assert suite.refresh() == 1
    suite.publisher.expire(role, NOW + DAY)
    assert suite.refresh() == 0


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_what_is_older_is_refused(suite: Suite, role: str) -> None:
    """The versions that were trusted stay."""
    assert suite.refresh() == 0
    suite.publisher.publish(b"second")
    assert suite.refresh() == 0
    suite.publisher.signed[role].version = 1
    if role == "timestamp":
        suite.publisher.write("timestamp")
    elif role == "snapshot":
        suite.publisher.restamp()
    else:
        suite.publisher.relist()
    assert suite.refresh() == 1
    assert suite.trusted[role] == 2
    assert suite.trusted["targets"] == 2


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_what_a_stranger_signed_is_refused(suite: Suite, role: str) -> None:
    """And leaves no trace."""
    assert suite.refresh() == 0
    suite.publisher.publish(b"second")
    suite.publisher.write(role, signers=[signing.ecdsa()])
    assert suite.refresh() == 1
    assert suite.trusted[role] == 1


def test_the_root_is_followed_to_the_newest_that_is_sound(suite: Suite) -> None:
    """A forged one ends it, and those before it are trusted."""
    suite.publisher.rotate("root")
    suite.publisher.rotate("timestamp")
    suite.publisher.resign()
    assert suite.refresh() == 0
    assert suite.trusted["root"] == 3
    suite.publisher.root.version = 4
    suite.publisher.write("root", signers=[signing.ed25519()])
    assert suite.refresh() == 1
    assert suite.trusted["root"] == 3


def test_new_keys_end_a_fast_forward(suite: Suite) -> None:
    """Numbers of a stolen key do not count beyond its time."""
    suite.publisher.timestamp.version = 1_000
    suite.publisher.write("timestamp")
    assert suite.refresh() == 0
    suite.publisher.timestamp.version = 2
    suite.publisher.rotate("timestamp")
    suite.publisher.restamp()
    assert suite.refresh() == 0
    assert suite.trusted["timestamp"] == 3


@pytest.mark.parametrize("change", ["version", "signature"])
def test_a_trusted_root_that_is_not_sound_makes_no_request(suite: Suite, change: str) -> None:
    """It fails at the first refresh at the latest."""

    def spoil(plain: dict[str, Any]) -> None:
        if change == "version":
            del plain["signed"]["version"]
        else:
            plain["signatures"][0]["sig"] = "00" * 64

    suite.init(signing.edited(suite.publisher.first_root, spoil))
    assert suite.refresh() == 1
    assert suite.requests == []


def test_a_changed_timestamp_of_the_same_version_is_not_kept(suite: Suite) -> None:
    """A number means one content."""
    assert suite.refresh() == 0
    before = (suite.path / "metadata" / "timestamp.json").read_bytes()
    suite.publisher.timestamp.snapshot_meta.version = 100
    suite.publisher.write("timestamp")
    suite.refresh()
    assert (suite.path / "metadata" / "timestamp.json").read_bytes() == before


def test_unknown_fields_are_signed_like_all_others(suite: Suite) -> None:
    """And make no difference."""
    assert suite.refresh() == 0
    suite.publisher.root.unrecognized_fields["custom"] = "value"
    suite.publisher.rotate()
    assert suite.refresh() == 0
    assert suite.trusted["root"] == 2
