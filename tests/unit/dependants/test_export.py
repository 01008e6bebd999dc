"""What dependants are given: each content in each format, and nothing of root's in any of it."""

from __future__ import annotations

import json
import os
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

from agent.core.dependants import Content, Format
from agent.dependants import export as module
from agent.dependants.export import extract
from agent.errors import DamagedError, MaterialError, RefusedError, StoreError
from support.running.systemd import THING, authorities, give, go_back, lay, open_place
from support.suite.surroundings import NOBODY
from support.unit.dependants.exports import PASSWORD, STORE_PASSWORD, a_copy, one

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from support.running.systemd import Laid


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> Path:
    """A state directory of this process's own user, with generation 1 in use."""
    lay(tmp_path / "state", 1)
    return tmp_path / "state"


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
