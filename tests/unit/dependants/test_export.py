"""What dependants are given: each content in each format, and nothing of root's in any of it."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
)

from agent.core.dependants import MAX_EACH, Content, Copy, Format
from agent.dependants import export as module
from agent.dependants.export import Extract, extract
from agent.errors import AgentError, DamagedError, MaterialError, RefusedError, StoreError
from agent.sandbox.authority import Authority
from support.systemd import NOBODY, NOW, THING, authorities, give, go_back, lay, open_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from support.systemd import Laid

PASSWORD = b"correct horse 42"
STORE_PASSWORD = Path("/etc/app/store.password")
CANARY = "canary-of-a-file-for-root-alone"


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> Path:
    """A state directory of this process's own user, with generation 1 in use."""
    lay(tmp_path / "state", 1)
    return tmp_path / "state"


@pytest.fixture(name="foreign")
def _foreign() -> Iterator[Path]:
    """A state directory of a user without rights, with generation 1 in use."""
    with open_place() as place:
        lay(place / "state", 1)
        give(place / "state", NOBODY)
        yield place / "state"


def a_copy(content: Content, form: Format = Format.PEM, password_file: Path | None = STORE_PASSWORD) -> Copy:
    """Return a copy to somewhere."""
    return Copy(to=Path("/nowhere/copy"), content=content, format=form, password_file=password_file)


def one(state: Path, content: Content, form: Format = Format.PEM, password: bytes = PASSWORD + b"\n") -> bytes:
    """Return what one copy holds."""
    (made,) = extract(state, [a_copy(content, form)], {STORE_PASSWORD: password}).copies
    return made


def certificates(pem: bytes) -> list[library.Certificate]:
    """Return the certificates of a PEM file."""
    return library.load_pem_x509_certificates(pem)


def public(key: PrivateKeyTypes) -> bytes:
    """Return what tells a key from another."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(name="laid")
def _laid(tmp_path: Path) -> Laid:
    """The set of `state`, whose root directory the two share."""
    return lay(tmp_path / "state", 2)


# -- contents and formats ----------------------------------------------------------------------------------------------


def test_pem_holds_what_it_is_asked_for(state: Path, laid: Laid) -> None:
    """To the byte where a file of the set is copied, and no more than was asked for."""
    assert one(state, Content.KEY) == laid.key_pem
    assert certificates(one(state, Content.CERTIFICATE)) == certificates(laid.leaf_pem)
    assert one(state, Content.CHAIN) == laid.chain_pem
    assert one(state, Content.ANCHORS) == laid.trust_pem
    assert b"PRIVATE" not in b"".join(one(state, content) for content in (Content.CERTIFICATE, Content.CHAIN))
    assert len(certificates(laid.chain_pem)) == len(certificates(laid.trust_pem)) == 2


def test_a_pair_is_the_key_and_then_the_chain(state: Path, laid: Laid) -> None:
    """A server may load it as one file."""
    made = one(state, Content.PAIR)

    assert public(load_pem_private_key(made, None)) == public(load_pem_private_key(laid.key_pem, None))
    assert certificates(made) == certificates(laid.chain_pem)
    assert made.index(b"PRIVATE KEY") < made.index(b"BEGIN CERTIFICATE")
    assert b"-----\n-----BEGIN" in made


def test_der_holds_one_object(state: Path, laid: Laid) -> None:
    """The key alone, or the gateway's own certificate alone."""
    key = load_der_private_key(one(state, Content.KEY, Format.DER), None)
    leaf = library.load_der_x509_certificate(one(state, Content.CERTIFICATE, Format.DER))

    assert public(key) == public(load_pem_private_key(laid.key_pem, None))
    assert [leaf] == certificates(laid.leaf_pem)


@pytest.mark.parametrize("content", [Content.PAIR, Content.ANCHORS])
def test_pkcs12_holds_the_pair_or_the_anchors(state: Path, laid: Laid, content: Content) -> None:
    """Behind the password, under the thing's name; no key lies beside anchors."""
    key, leaf, others = pkcs12.load_key_and_certificates(one(state, content, Format.PKCS12), PASSWORD)

    if content is Content.PAIR:
        assert key is not None
        assert public(key) == public(load_pem_private_key(laid.key_pem, None))
        assert [leaf, *others] == certificates(laid.chain_pem)
    else:
        assert (key, leaf, set(others)) == (None, None, set(certificates(laid.trust_pem)))


@pytest.mark.parametrize("content", [Content.PAIR, Content.ANCHORS])
@pytest.mark.parametrize("file", [b"", b"\n", b"\nsecond line\n", None])
def test_without_a_password_that_copy_alone_is_not_made(state: Path, content: Content, file: bytes | None) -> None:
    """An empty first line, an empty file, none at all: nothing is made of it, and the file is named."""
    known = {} if file is None else {STORE_PASSWORD: file}
    found = extract(state, [a_copy(Content.KEY), a_copy(content, Format.PKCS12), a_copy(Content.CHAIN)], known)

    assert found.copies[1] == b""
    assert all((found.copies[0], found.copies[2]))
    assert list(found.problems) == [1]
    assert found.problems[1].startswith("/etc/app/store.password must hold a password in its first line")


@pytest.mark.parametrize("file", [PASSWORD, PASSWORD + b"\n", PASSWORD + b"\r\n", PASSWORD + b"\nanother\n"])
def test_the_password_is_the_first_line(state: Path, file: bytes) -> None:
    """However the line ends."""
    made = one(state, Content.PAIR, Format.PKCS12, file)
    assert pkcs12.load_key_and_certificates(made, PASSWORD)[0] is not None


@pytest.mark.parametrize("content", [Content.PAIR, Content.ANCHORS])
@pytest.mark.parametrize("owner", [pytest.param(NOBODY, marks=pytest.mark.root), os.geteuid()])
@pytest.mark.parametrize("password", [b"caf\xe9\n", b"a\0b\n"])
def test_a_password_that_is_no_text_keeps_no_other_copy_away(owner: int, content: Content, password: bytes) -> None:
    """As one in Latin-1: that copy alone is not made, the file is named, and the password is not."""
    wanted = [a_copy(Content.KEY), a_copy(content, Format.PKCS12), a_copy(Content.CHAIN)]
    with open_place() as place:
        lay(place / "state", 1)
        if owner != os.geteuid():
            give(place / "state", owner)
        found = extract(place / "state", wanted, {STORE_PASSWORD: password})

    assert found.problems == {1: f"The password in {STORE_PASSWORD} must be UTF-8 text."}
    assert (b"PRIVATE" in found.copies[0], found.copies[1], b"BEGIN" in found.copies[2]) == (True, b"", True)


@pytest.mark.parametrize("password", ["café".encode(), "\U0001f511 x".encode(), b"x" * 200])
def test_any_text_is_a_password(state: Path, password: bytes) -> None:
    """In its first line."""
    made = one(state, Content.PAIR, Format.PKCS12, password + b"\n\xff")
    assert pkcs12.load_key_and_certificates(made, password)[0] is not None


def test_copies_come_in_the_order_they_were_asked_for(state: Path, laid: Laid) -> None:
    """As many as were asked for, and none when none was."""
    wanted = [a_copy(Content.ANCHORS), a_copy(Content.KEY), a_copy(Content.ANCHORS)]

    assert extract(state, wanted, {}).copies == (laid.trust_pem, laid.key_pem, laid.trust_pem)
    assert extract(state, [], {}).copies == ()


def test_it_says_which_set_it_is(state: Path, laid: Laid) -> None:
    """Its generation, its thing, and the fingerprint that a server must show; its contents are not in what is shown."""
    found = extract(state, [a_copy(Content.KEY)], {})

    assert (found.generation, found.thing_name, found.certificate_id) == (2, THING, laid.certificate_id)
    assert "PRIVATE" not in repr(found)


# -- which set it is ---------------------------------------------------------------------------------------------------


def test_a_set_is_known_by_its_certificate_and_anchors(tmp_path: Path) -> None:
    """Another generation with the same of both is the same set; with another of either it is another."""
    state = tmp_path / "state"
    found = {}
    first = lay(state, 1)
    found["first"] = extract(state, [], {}).set
    lay(state, 2, like=first)
    found["same"] = extract(state, [], {}).set
    lay(state, 3)
    found["certificate"] = extract(state, [], {}).set
    lay(state, 4, like=first, trust=authorities()[0].pem)
    found["anchors"] = extract(state, [], {}).set
    go_back(state, 1)
    found["back"] = extract(state, [], {}).set

    assert found["first"] == found["same"] == found["back"]
    assert len({found["first"], found["certificate"], found["anchors"]}) == 3


# -- no set ------------------------------------------------------------------------------------------------------------


def test_before_enrolment_there_is_nothing_to_give(tmp_path: Path) -> None:
    """That is said in a sentence."""
    (tmp_path / "state").mkdir()
    with pytest.raises(RefusedError, match=r"^This gateway has no certificate yet, .+\.$"):
        extract(tmp_path / "state", [], {})


def test_a_missing_state_directory_is_named(tmp_path: Path) -> None:
    """And nothing is made."""
    with pytest.raises(StoreError, match=r"gone: No such file or directory\.$"):
        extract(tmp_path / "gone", [], {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["key.pem", "certificate.pem", "trust.pem", "manifest.json"])
@pytest.mark.parametrize("how", ["gone", "changed", "cut"])
def test_a_damaged_generation_is_given_to_no_dependant(state: Path, file: str, how: str) -> None:
    """Whichever file it is, and although it was not asked for; no key is in what is said."""
    path = state / "generations" / "000001" / file
    data = path.read_bytes()
    path.unlink()
    if how != "gone":
        path.write_bytes(data[: len(data) // 2] if how == "cut" else data + b"x")
    with pytest.raises(DamagedError, match=r"^Generation 1 is damaged: .+\.$") as caught:
        extract(state, [a_copy(Content.CHAIN)], {})
    assert "PRIVATE" not in str(caught.value) + caught.value.hint


# -- another user's directory ------------------------------------------------------------------------------------------


@pytest.mark.root
def test_root_gets_the_same_out_of_a_directory_of_another_user(foreign: Path) -> None:
    """Whichever user reads it, a set is the same; PKCS #12 differs each time, but for what it holds."""
    wanted = [a_copy(content) for content in Content] + [a_copy(Content.KEY, Format.DER)]
    found = extract(foreign, wanted, {})
    boxed = one(foreign, Content.PAIR, Format.PKCS12)
    give(foreign, 0)

    assert found == extract(foreign, wanted, {})
    assert found.problems == {}
    assert pkcs12.load_key_and_certificates(boxed, PASSWORD)[0] is not None


@pytest.mark.root
def test_root_gets_many_copies_of_many_anchors_out_of_it(foreign: Path) -> None:
    """All that can be configured, of a set of every public authority and as many again: each content comes once."""
    pem = b"".join(Authority(f"Public root {number}", NOW).pem for number in range(300))
    give(foreign, 0)
    lay(foreign, 2, trust=pem)
    give(foreign, NOBODY)
    contents = (Content.ANCHORS, Content.PAIR)
    found = extract(foreign, [a_copy(contents[place % 2]) for place in range(MAX_EACH)], {})

    assert len(pem) * MAX_EACH // 2 > module.MAX_EXTRACT
    assert found.problems == {}
    assert [len(copy) > 100_000 for copy in found.copies] == [place % 2 == 0 for place in range(MAX_EACH)]


def test_why_a_copy_is_not_made_reaches_the_caller(foreign: Path) -> None:
    """By its place, and the others come all the same."""
    found = extract(foreign, [a_copy(Content.KEY), a_copy(Content.PAIR, Format.PKCS12)], {})

    assert b"PRIVATE" in found.copies[0]
    assert list(found.problems) == [1]
    assert "/etc/app/store.password" in found.problems[1]


@pytest.mark.root
def test_a_link_to_a_file_of_root_is_not_read(foreign: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The owner of the directory may plant one anywhere in it: what it leads to is in nothing that comes out."""
    secret = foreign.parent / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    generation = foreign / "generations" / "000001"
    said = []
    for path in (*generation.iterdir(), generation, foreign / "generations", foreign / "current"):
        moved = path.rename(foreign.parent / "moved")
        path.symlink_to(secret)
        with pytest.raises(AgentError) as caught:
            extract(foreign, [a_copy(content) for content in Content], {})
        said.append(f"{caught.value} {caught.value.hint}")
        path.unlink()
        moved.rename(path)

    assert CANARY not in "\n".join(said) + "".join(capfd.readouterr())
    assert extract(foreign, [], {}).generation == 1


@pytest.mark.root
def test_root_reads_nothing_that_the_owner_may_not_read(foreign: Path) -> None:
    """A generation of root's that is whole stays closed: its reader has become the owner."""
    with open_place() as elsewhere:
        lay(elsewhere / "state", 1)
        target = elsewhere / "state" / "generations"
        target.chmod(0o755)
        for item in target.iterdir():
            item.chmod(0o755)
        (foreign / "generations" / "000001").rename(foreign.parent / "moved")
        for item in (target / "000001").iterdir():
            item.chmod(0o600)
        (target / "000001").rename(foreign / "generations" / "000001")
        with pytest.raises(AgentError, match="Permission denied"):
            extract(foreign, [a_copy(Content.KEY)], {})


@pytest.mark.root
def test_the_reader_has_given_up_everything_of_root(
    foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user, its groups, its capabilities, its way back; and no other process of the owner's may look into it."""
    (tmp_path / "unused").touch()

    def look(*_: object) -> Extract:
        status = dict(line.split(":\t", 1) for line in Path("/proc/thread-self/status").read_text().splitlines())
        told = {key: status[key].split() for key in ("Uid", "Gid", "Groups", "CapEff", "CapPrm")}
        back = "no"
        try:
            os.setresuid(0, 0, 0)
            back = "yes"
        except PermissionError:
            pass
        dumpable = os.stat("/proc/thread-self/stat").st_uid  # noqa: PTH116 - root's when it may not be looked into
        raise MaterialError(json.dumps({**told, "back": back, "dumpable": dumpable}))

    monkeypatch.setattr(module, "_extract", look)
    with pytest.raises(MaterialError) as caught:
        extract(foreign, [], {})
    told = json.loads(str(caught.value))

    assert told["Uid"] == told["Gid"] == [str(NOBODY)] * 4
    assert set(told["Groups"]) <= {str(NOBODY)}
    assert {int(told["CapEff"][0], 16), int(told["CapPrm"][0], 16)} == {0}
    assert (told["back"], told["dumpable"]) == ("no", 0)


@pytest.mark.root
def test_the_reader_has_nothing_of_roots_open(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock above all, which its user could hold by stopping it: there is the pipe, and what every process has."""

    def look(*_: object) -> Extract:
        fds = [fd for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]  # without the one of the look
        raise MaterialError(json.dumps({fd.name: str(fd.readlink()) for fd in fds}))

    monkeypatch.setattr(module, "_extract", look)
    (tmp_path / "lock").touch()
    with (tmp_path / "lock").open() as low, (tmp_path / "lock").open() as other:
        high = os.dup2(low.fileno(), 200, inheritable=True)
        try:
            with pytest.raises(MaterialError) as caught:
                extract(foreign, [], {})
        finally:
            os.close(high)
        assert not other.closed
    left = [target for number, target in json.loads(str(caught.value)).items() if int(number) > 2]
    assert len(left) == 1
    assert left[0].startswith("pipe:")


@pytest.mark.root
@pytest.mark.parametrize(
    "error", [MaterialError("It is bad.", hint="Mend it."), RefusedError("Not now.", hint="Later.")]
)
def test_what_the_reader_says_reaches_the_caller(
    foreign: Path, monkeypatch: pytest.MonkeyPatch, error: AgentError
) -> None:
    """Its sentence and its advice."""
    monkeypatch.setattr(module, "_extract", lambda *_: _raise(error))
    with pytest.raises(AgentError) as caught:
        extract(foreign, [], {})
    assert (str(caught.value), caught.value.hint) == (str(error), error.hint)


@pytest.mark.root
def test_a_defect_of_the_reader_is_told_without_its_text(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may hold a key."""
    monkeypatch.setattr(module, "_extract", lambda *_: _raise(ZeroDivisionError("-----BEGIN PRIVATE KEY-----")))
    with pytest.raises(MaterialError, match=r"^The set could not be read \(ZeroDivisionError\)\.$") as caught:
        extract(foreign, [], {})
    assert caught.value.hint == ""


def _raise(error: Exception) -> Extract:
    raise error


@pytest.mark.root
@pytest.mark.parametrize("ends", [KeyboardInterrupt, SystemExit, MemoryError])
def test_the_reader_never_goes_on_as_its_parent(
    foreign: Path, monkeypatch: pytest.MonkeyPatch, ends: type[BaseException]
) -> None:
    """However it ends: the caller runs once, and is told."""
    monkeypatch.setattr(module, "_extract", lambda *_: _raise(ends()))  # type: ignore[arg-type]
    assert _ran_by(foreign, []) == [os.getpid()]


@pytest.mark.root
def test_an_answer_without_end_is_cut_off(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is taken than could be right, the caller runs once, and no process is left behind."""
    monkeypatch.setattr(module, "MAX_EXTRACT", 200_000)
    found = replace(extract(foreign, [], {}), copies=(b"x" * 1_000_000,))
    monkeypatch.setattr(module, "_extract", lambda *_: found)

    assert _ran_by(foreign, [a_copy(Content.KEY)]) == [os.getpid()]


def children() -> str:
    """Return the processes that this one has started and not seen off."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def _ran_by(state: Path, wanted: list[Copy]) -> list[int]:
    """Ask in vain, and return which processes came back from that."""
    read_end, write_end = os.pipe()
    parent, before = os.getpid(), children()
    try:
        with pytest.raises(MaterialError):
            extract(state, wanted, {})
    finally:
        os.write(write_end, b"%d " % os.getpid())
        if os.getpid() != parent:
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        ran = [int(pid) for pid in pipe.read().split()]
    assert children() == before
    return ran


@pytest.mark.root
def test_a_reader_that_is_stopped_does_not_hold_root_up(foreign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may stop it, and it runs as its owner: it is ended, and that is said."""
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    monkeypatch.setattr(module, "_extract", lambda *_: time.sleep(600))
    before = children()
    with pytest.raises(AgentError, match="could not be read in time"):
        extract(foreign, [], {})
    assert children() == before


# -- the answer --------------------------------------------------------------------------------------------------------


def answer(**changes: Any) -> bytes:
    """Return a sound answer with one copy, with changes."""
    sound = {"generation": 1, "thing_name": THING, "certificate_id": "ab" * 32, "set": "cd" * 32}
    sound |= {"contents": ["eA=="], "copies": [0]}
    return json.dumps(sound | changes).encode()


def test_a_sound_answer_is_taken() -> None:
    """So the following ones fail for what is wrong with them."""
    assert module._received(answer(), 1).copies == (b"x",)
    assert module._received(answer(problems={"0": "It is."}), 1).problems == {0: "It is."}


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"null", b"\xff", b"[" * 100_000, answer(generation=-1), answer(generation="1"),
        answer(set="a" * 65), answer(thing_name="x" * 129), answer(thing_name=None), answer(certificate_id=7),
        answer(copies=None), answer(copies=7), answer(copies=[]), answer(copies=[0, 0]), answer(copies=[1]),
        answer(copies=[-1]), answer(copies=[True]), answer(copies=["0"]), answer(copies=[None]),
        answer(copies={"a": 0}), answer(contents=None),
        answer(contents=7), answer(contents=[]), answer(contents=["e"]), answer(contents=["eA==\n"]),
        answer(contents=["\u00e9A=="]), answer(contents=[None]), answer(contents={"a": "eA=="}),
        answer(problems=[]), answer(problems={"x": "It is."}), answer(problems={"1": "It is."}),
        answer(problems={"-1": "It is."}), answer(problems={"0": 7}), answer(problems={"0": "x" * 2000}),
        answer(error=7), answer(error="x" * 5000), answer(error="It is.", hint=7),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_an_error(data: bytes) -> None:
    """It comes from a process of another user: it is a sentence, and never anything else."""
    with pytest.raises(MaterialError, match=r"^The set in use could not be read.*\.$"):
        module._received(data, 1)


def test_an_answer_that_is_too_large_is_an_error() -> None:
    """By its size alone."""
    with pytest.raises(MaterialError, match="bytes and 8388608 are allowed"):
        module._received(answer() + b" " * module.MAX_EXTRACT, 1)
