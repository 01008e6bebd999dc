"""The verbs for a gateway's anchors where no endpoint is to be had: what they show, refuse, plan and leave alone."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent import cli
from agent.core.change.lifecycle import Phase
from agent.core.report.document import document, trust
from agent.core.report.screen import explain, screen
from agent.store.store import Store
from support import make
from support.publishing.signing import Publisher
from support.suite.ran import Ran
from support.suite.surroundings import another_user
from support.unit.cli.trust_verbs import NEW, NOW, OLD, TrustPlace

if TYPE_CHECKING:
    from collections.abc import Iterator

DIGEST = "ab" * 32


@pytest.fixture(name="place")
def _place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[TrustPlace]:
    before = os.umask(0o022)  # the command sets its own
    try:
        yield TrustPlace(tmp_path, capsys)
    finally:
        os.umask(before)


@pytest.fixture(name="enrolled")
def _enrolled(place: TrustPlace) -> TrustPlace:
    place.enrol()
    return place


# -- list and check ----------------------------------------------------------------------------------------------------


def test_the_anchors_in_use_are_listed(enrolled: TrustPlace) -> None:
    """With their generation, and what is to be said about them: nothing, for an endpoint of one's own."""
    ran = enrolled.run("list", expect=0)
    assert [line.split()[0] for line in ran.out.splitlines()] == ["generation", "anchors", "generation"]
    assert "Root A" in ran.out
    assert ran.out.splitlines()[-1] == "generation 1: 1 certificate can be used"


def test_machines_read_the_list(enrolled: TrustPlace) -> None:
    """The anchors, where they came from, and the findings."""
    (told,) = enrolled.run("list", "--json", expect=0).events
    assert (told["event"], told["generation"], told["findings"], told["exit"]) == ("trust", 1, [], 0)
    assert [anchor["subject"] for anchor in told["anchors"]] == ["CN=Root A"]


@pytest.mark.parametrize("state", [False, True])
def test_before_the_first_enrolment_it_is_the_baked_copy(place: TrustPlace, *, state: bool) -> None:
    """Whether or not the state directory is there; looking makes none."""
    if state:
        (place.path / "state").mkdir(mode=0o700)
    ran = place.run("list", expect=0)
    assert ran.out.splitlines()[-1] == f"{place.path}/baked.pem: 1 certificate can be used"
    assert place.run("check", expect=0).out == f"{place.path}/baked.pem: 1 certificate can be used\n"
    assert place.run("list", "--json", expect=0).events[0]["anchors"] is None
    assert (place.path / "state").exists() is state


def test_a_baked_copy_that_is_not_there_is_told(place: TrustPlace) -> None:
    """By name."""
    (place.path / "baked.pem").unlink()
    for verb in ("list", "check"):
        assert f"{place.path}/baked.pem" in place.run(verb, expect=1).err


def test_missing_roots_of_amazon_matter_for_aws_alone(enrolled: TrustPlace) -> None:
    """And not when the operator says that they do not."""
    enrolled.run("check", expect=0)
    enrolled.settings = enrolled.settings.replace("localhost", "a-ats.iot.eu-west-1.amazonaws.com")
    ran = enrolled.run("check", expect=1)
    assert ran.out.count("warning      missing") == 5
    assert enrolled.run("list", "--json", expect=1).events[0]["exit"] == 1
    assert enrolled.run("check", "--any", expect=0).out == "generation 1: 1 certificate can be used\n"


def test_checking_a_file_on_a_gateway_is_about_the_file(enrolled: TrustPlace) -> None:
    """Not about the anchors in use."""
    (enrolled.path / "other.pem").write_bytes(NEW.pem)
    ran = enrolled.run("check", "--any", f"{enrolled.path}/other.pem", expect=0)
    assert ran.out == f"{enrolled.path}/other.pem: 1 certificate can be used\n"


@pytest.fixture(name="open_place")
def _open_place(capsys: pytest.CaptureFixture[str]) -> Iterator[TrustPlace]:
    """Be where every user may look, but for the state directory."""
    before = os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        place = TrustPlace(path, capsys)
        place.enrol()
        place.configure().chmod(0o644)
        try:
            yield place
        finally:
            os.umask(before)


@contextmanager
def daemon(path: Path) -> Iterator[None]:
    """Answer every request with one status document, as a daemon does."""
    (path / "run").mkdir()
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(f"{path}/run/control.sock")
        (path / "run" / "control.sock").chmod(0o666)
        listener.listen()
        thread = threading.Thread(target=_answer, args=(listener,), daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)


def _answer(listener: socket.socket) -> None:
    status = make.status()
    told = {
        "event": "status",
        "document": document(status),
        "trust": trust(status),
        "screen": list(screen(status)),
        "why": explain(status),
        "exit": 0,
    }
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65_536)
            connection.sendall(json.dumps(told).encode() + b"\n")


def listed(place: TrustPlace, *arguments: str) -> Ran:
    """Return what another user is shown; the configuration is there already."""
    place.capsys.readouterr()
    with another_user():
        code = cli.main(["--config", f"{place.path}/config.yaml", "trust", *arguments])
    said = place.capsys.readouterr()
    return Ran(code, said.out, said.err)


def test_another_user_is_shown_what_the_daemon_tells(open_place: TrustPlace) -> None:
    """And who can have the anchors checked."""
    with daemon(open_place.path):
        ran = listed(open_place, "list")
        (told,) = listed(open_place, "list", "--json").events
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()][:2] == ["generation", "anchors"]
    assert "Amazon Root CA 1" in ran.out
    assert ran.out.splitlines()[-1] == "Run it with sudo to have the anchors checked, too."
    assert (told["generation"], told["exit"], "findings" in told) == (7, 0, False)


@pytest.mark.parametrize("verb", ["list", "check"])
def test_another_user_without_a_daemon_is_refused(open_place: TrustPlace, verb: str) -> None:
    """With what to do."""
    ran = listed(open_place, verb)
    assert ran.code == 4
    assert "Permission denied" in ran.err
    assert "No daemon runs that would do it for you: `sudo systemctl start iot-cert-agent`, or run this" in ran.err


def test_a_bundle_that_another_user_may_not_read_is_told(open_place: TrustPlace) -> None:
    """In words, as the calling user."""
    hidden = open_place.path / "hidden"
    hidden.mkdir(mode=0o700)
    ran = listed(open_place, "install", f"{hidden}/bundle.tar")
    assert "defect" not in ran.err
    assert f"{hidden}" in ran.err
    assert "Run it with sudo." in ran.err
    assert ran.code == 2


# -- install -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tar", "dir"])
def test_a_bundle_is_verified_and_planned(enrolled: TrustPlace, form: str) -> None:
    """What comes and what goes is told; where the endpoint is dead, the change is kept for later."""
    bundle = enrolled.shipped(OLD, NEW, form=form)
    ran = enrolled.run("install", str(bundle), "--wait", "0", expect=5)
    assert ran.out.splitlines()[1].startswith("added        Root B, until ")
    assert "removed" not in ran.out
    assert enrolled.change == ("trust", "prepared")
    assert (enrolled.anchors(1), enrolled.anchors(2)) == (["Root A"], ["Root A", "Root B"])


def test_machines_read_what_was_planned(enrolled: TrustPlace) -> None:
    """One object says what is to change, the last how it ended."""
    ran = enrolled.run("install", str(enrolled.shipped(NEW)), "--json", "--wait", "0", expect=5)
    (first,) = (event for event in ran.events if event["event"] == "bundle")
    last = ran.events[-1]
    assert (first["outcome"], first["version"]) == ("in-progress", 1)
    assert [[anchor["name"] for anchor in first[word]] for word in ("added", "removed")] == [["Root B"], ["Root A"]]
    assert (last["event"], last["exit"], last["current"]) == ("outcome", 5, 1)


def test_the_same_anchors_are_nothing_to_do(enrolled: TrustPlace) -> None:
    """Exit code 0, and no change."""
    bundle = str(enrolled.shipped(OLD))
    assert enrolled.run("install", bundle, expect=0).out == "These anchors are in use already.\n"
    (told,) = enrolled.run("install", bundle, "--json", expect=0).events
    assert (told["event"], told["outcome"], told["exit"]) == ("bundle", "unchanged", 0)
    assert enrolled.change is None


@pytest.mark.parametrize("verb", [("install",), ("restore",)])
def test_a_change_in_flight_comes_first(place: TrustPlace, verb: tuple[str, ...]) -> None:
    """It is named, and stays as it is."""
    place.enrol(Phase.DEPLOYED)
    before = place.change
    source = [str(place.shipped(NEW))] if verb == ("install",) else []
    (place.path / "baked.pem").write_bytes(NEW.pem)
    ran = place.run(*verb, *source, expect=4)
    assert "(rotate) is in flight; it comes first." in ran.err
    assert place.change == before


@pytest.mark.parametrize("state", [False, True])
def test_a_gateway_that_is_not_enrolled_is_told_to(place: TrustPlace, *, state: bool) -> None:
    """There is no set to give anchors to; none is made."""
    if state:
        (place.path / "state").mkdir(mode=0o700)
    for verb in (("install", str(place.shipped(NEW))), ("restore",)):
        assert "iot-cert enroll" in place.run(*verb, expect=4).err
    assert (place.path / "state").exists() is state


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://depot.example/bundle.tar", "https"),
        ("ftp://depot.example/bundle.tar", "https"),
        ("https://depot.example/repository/?X=1", "no query"),
    ],
)
def test_a_url_that_will_not_do_is_refused(enrolled: TrustPlace, url: str, why: str) -> None:
    """Before anything is downloaded."""
    assert why in enrolled.run("install", url, expect=2).err
    assert enrolled.change is None


def test_a_repository_has_no_hash(enrolled: TrustPlace) -> None:
    """Only an archive has."""
    ran = enrolled.run("install", "https://depot.example/repository/", "--sha256", DIGEST, expect=2)
    assert "A hash is that of an archive" in ran.err


def test_a_hash_is_never_passed_over(enrolled: TrustPlace) -> None:
    """A caller who names one for a file wants that file and no other."""
    ran = enrolled.run("install", str(enrolled.shipped(NEW)), "--sha256", DIGEST, "--wait", "0")
    assert ran.code == 2
    assert enrolled.change is None


@pytest.mark.parametrize("name", ["nowhere.tar", "x" * 5_000, "root.json", "a\x1b[2Jb.tar"])
def test_a_file_that_is_no_bundle_is_told(enrolled: TrustPlace, name: str) -> None:
    """In words, with nothing that steers the terminal."""
    ran = enrolled.run("install", f"{enrolled.path}/{name}", expect=2)
    assert ran.err.startswith("iot-cert: ")
    assert "\x1b" not in ran.err


def test_certificates_without_a_signature_are_refused(enrolled: TrustPlace) -> None:
    """With the way to sign them."""
    (enrolled.path / "roots.pem").write_bytes(NEW.pem)
    ran = enrolled.run("install", f"{enrolled.path}/roots.pem", expect=2)
    assert "no signer vouches for" in ran.err
    assert "iot-cert trust publish" in ran.err


def test_a_bundle_of_other_signers_is_refused(enrolled: TrustPlace) -> None:
    """It leads to other keys than the root that lies on the gateway."""
    enrolled.publisher = Publisher(NOW)
    assert "not signed by enough of its keys" in enrolled.run("install", str(enrolled.shipped(NEW)), expect=1).err
    assert enrolled.change is None


def test_without_a_root_no_bundle_is_accepted(enrolled: TrustPlace) -> None:
    """The setting is named."""
    bundle = enrolled.shipped(NEW)
    enrolled.trust = f"anchors: {enrolled.path}/baked.pem"
    assert "`trust.root`" in enrolled.run("install", str(bundle), expect=2).err


# -- restore -----------------------------------------------------------------------------------------------------------


def test_the_baked_copy_in_use_is_nothing_to_restore(enrolled: TrustPlace) -> None:
    """Exit code 0, and no change."""
    assert enrolled.run("restore", expect=0).out == "These anchors are in use already.\n"
    assert enrolled.change is None


def test_the_baked_copy_is_planned(enrolled: TrustPlace) -> None:
    """The caller's reason is kept, with where the anchors came from."""
    (enrolled.path / "baked.pem").write_bytes(OLD.pem + NEW.pem)
    ran = enrolled.run("restore", "--reason", "as the vendor said", "--wait", "0", expect=5)
    assert ran.out.splitlines()[1].startswith("added        Root B, until ")
    with Store(enrolled.path / "state") as store:
        record = store.change()
    assert record is not None
    assert (record.kind, record.origin) == ("trust", "technician")
    assert record.reason.startswith("as the vendor said: ")


@pytest.mark.parametrize("content", [None, b"", b"nothing"])
def test_a_baked_copy_that_cannot_be_used_is_told(enrolled: TrustPlace, content: bytes | None) -> None:
    """By name, and nothing is changed."""
    baked = enrolled.path / "baked.pem"
    baked.unlink()
    if content is not None:
        baked.write_bytes(content)
    ran = enrolled.run("restore", expect=2)
    assert "What `trust.anchors` names cannot be used: " in ran.err
    assert str(baked) in ran.err
    assert enrolled.change is None
