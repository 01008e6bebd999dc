"""Keys of a publisher: replaced, several for a role, and signers that are not files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer

from agent.errors import ConfigError, RefusedError
from agent.trust import tuf_publisher
from agent.trust.signing_keys import signer_of
from support.unit.trust.publisher import KEYS, LIVE, LIVE_KEYS, ONLINE, ROOT, SECOND_ROOT, ReadRepository, key, versions

if TYPE_CHECKING:
    from pathlib import Path

# -- keys --------------------------------------------------------------------------------------------------------------


def test_online_keys_are_replaced(opened: ReadRepository) -> None:
    """All that they sign is signed anew; the old ones are of no use any more."""
    opened.accepted()
    fresh = key(9)
    keys = {role: [fresh] for role in ONLINE}
    done = opened.publish(signers=keys, old_root_signers=[ROOT], replace_keys=True)
    assert done.versions == versions(2, 2, 2, 2)
    assert set(opened.signed("2.root").keys) == {ROOT.public_key.keyid, fresh.public_key.keyid}
    assert opened.accepted() == b"first"
    assert opened.newcomer(done.files).data == b"first"
    with pytest.raises(RefusedError, match="The role timestamp needs 1 signature and got 0"):
        opened.publish()


def test_one_online_key_is_replaced(opened: ReadRepository) -> None:
    """The roles that keep theirs are not signed again without need."""
    opened.accepted()
    done = opened.publish(signers={"timestamp": [key(9)]}, old_root_signers=[ROOT], replace_keys=True)
    assert done.versions == versions(2, 1, 1, 2)
    assert opened.accepted() == b"first"


def test_the_roots_keys_are_replaced_with_the_old_one(opened: ReadRepository) -> None:
    """Both sign, so a gateway of any age follows."""
    opened.accepted()
    signers = {**LIVE_KEYS, "root": [SECOND_ROOT]}
    done = opened.publish(signers=signers, old_root_signers=[ROOT], replace_keys=True)
    assert done.versions == versions(2, 1, 1, 2)
    assert opened.accepted() == b"first"
    assert opened.newcomer(done.files).data == b"first"
    assert opened.signed("2.root").roles["root"].keyids == [SECOND_ROOT.public_key.keyid]


def test_the_roots_keys_are_not_replaced_without_the_old_one(opened: ReadRepository) -> None:
    """No gateway would follow, so nothing is written."""
    before = opened.files
    with pytest.raises(RefusedError, match="The role root needs 1 signature and got 0; nothing was published"):
        opened.publish(signers={**LIVE_KEYS, "root": [SECOND_ROOT]}, replace_keys=True)
    assert opened.files == before


def test_archives_hold_all_roots(opened: ReadRepository) -> None:
    """A gateway that slept through every change follows from its first."""
    old = ROOT
    for number in range(20, 25):
        new = key(number)
        signers = {**LIVE_KEYS, "root": [new]}
        done = opened.publish(signers=signers, old_root_signers=[old], replace_keys=True)
        old = new
    assert {f"metadata/{number}.root.json" for number in range(1, 7)} <= set(done.files)
    assert opened.newcomer(done.files).data == b"first"


BOTH: dict[str, list[Signer]] = {**LIVE_KEYS, "root": [ROOT, SECOND_ROOT]}


def test_two_signatures_are_needed_where_it_was_said(shop: ReadRepository) -> None:
    """Both keys sign the root, and one alone is not enough for the next."""
    shop.first(signers=BOTH, thresholds={"root": 2})
    assert shop.accepted() == b"first"
    assert len(json.loads(shop.root)["signatures"]) == 2
    before = shop.files
    with pytest.raises(RefusedError, match="The role root needs 2 signatures and got 1; nothing was published"):
        shop.publish(signers=KEYS, renew=frozenset({"root"}))
    assert shop.files == before
    assert shop.publish(signers=BOTH, renew=frozenset({"root"})).versions == versions(2, 1, 1, 2)
    assert shop.accepted() == b"first"


def test_replacing_keys_does_not_lower_a_threshold(shop: ReadRepository) -> None:
    """A role needs as many signatures as before unless something else is said."""
    shop.first(signers=BOTH, thresholds={"root": 2})
    third = key(9)
    shop.publish(signers={**LIVE_KEYS, "root": [ROOT, third]}, old_root_signers=[SECOND_ROOT], replace_keys=True)
    assert shop.signed("2.root").roles["root"].threshold == 2
    assert shop.accepted() == b"first"


def test_a_threshold_for_a_role_whose_keys_stay_is_not_passed_over(shop: ReadRepository) -> None:
    """A publisher who asks for two signatures gets them or is told."""
    shop.first(signers=BOTH)
    with pytest.raises(RefusedError):
        shop.publish(signers=BOTH, thresholds={"root": 2})


# -- signers -----------------------------------------------------------------------------------------------------------


SECRET = "5ecret-of-a-signer"  # noqa: S105 - looked for in messages


class Unwilling(Signer):
    """A signer that fails, and says too much."""

    def __init__(self, public: Any) -> None:
        self._public = public

    @property
    def public_key(self) -> Any:
        """Its public key."""
        return self._public

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Any, secrets_handler: Any = None) -> Unwilling:
        """Return one."""
        del secrets_handler
        if "closed" in priv_key_uri:
            raise PermissionError(f"{SECRET} is wrong")
        return cls(public_key)

    def sign(self, payload: bytes) -> Any:
        """Fail."""
        raise ValueError(f"{SECRET}: {payload!r}")


class TokenSigner(Unwilling):
    """A signer whose key is not in a file."""

    def sign(self, payload: bytes) -> Any:
        """Sign."""
        return LIVE.sign(payload)


@pytest.fixture(name="schemes")
def _schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "unwilling", Unwilling)
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "elsewhere", TokenSigner)


def public_pem(signer: CryptoSigner) -> bytes:
    """Return the public part of a key."""
    public = Ed25519PrivateKey.from_private_bytes(_seed(signer)).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _seed(signer: CryptoSigner) -> bytes:
    for number in range(1, 30):
        if key(number).public_key == signer.public_key:
            return bytes([number]) * 32
    raise AssertionError(signer)


def test_a_signer_that_fails_says_nothing_of_its_key(opened: ReadRepository) -> None:
    """Its own words may hold anything; nothing is published."""
    before = opened.files
    with pytest.raises(RefusedError, match=r"could not sign \(\w+\); nothing was published\.") as caught:
        opened.publish(signers={role: [Unwilling(LIVE.public_key)] for role in ONLINE})
    assert SECRET not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"
    assert opened.files == before


@pytest.mark.usefixtures("schemes")
def test_any_scheme_of_the_library_signs_with_its_public_key(shop: ReadRepository) -> None:
    """A key service or a security module."""
    signer = signer_of("elsewhere:slot/1", public_pem(LIVE))
    assert signer.public_key.keyid == LIVE.public_key.keyid
    shop.first(signers={role: [signer] for role in tuf_publisher.ROLES})
    assert shop.accepted() == b"first"


@pytest.mark.usefixtures("schemes")
def test_a_key_that_is_not_in_a_file_needs_its_public_part() -> None:
    """The option is named."""
    with pytest.raises(ConfigError, match="--public-key URI=FILE"):
        signer_of("elsewhere:slot/1", None)


@pytest.mark.usefixtures("schemes")
@pytest.mark.parametrize("uri", ["unwilling:closed", "nothing:like-it", "no-scheme"])
def test_a_signer_that_cannot_be_had_is_one_sentence(uri: str) -> None:
    """With the URI, and without the signer's own words."""
    with pytest.raises(ConfigError) as caught:
        signer_of(uri, public_pem(LIVE))
    assert str(caught.value).startswith(f"{uri}: the signing key cannot be used (")
    assert SECRET not in f"{caught.value}{caught.value.hint}{caught.value.__cause__}"


def pkcs8(seed: int, password: bytes = b"") -> bytes:
    """Return a private key as a file holds it."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize("public", [None, public_pem(ROOT)])
def test_a_key_in_a_file_signs(tmp_path: Path, public: bytes | None) -> None:
    """Its public part need not be told, and may be."""
    (tmp_path / "key.pem").write_bytes(pkcs8(1))
    assert signer_of(f"file2:{tmp_path}/key.pem", public).public_key == ROOT.public_key


UNUSABLE = {
    "encrypted": pkcs8(1, b"password"),
    "garbage": b"\x00\x01garbage",
    "empty": b"",
    "public": public_pem(ROOT),
    "cut off": pkcs8(1)[:60],
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("public", [None, public_pem(ROOT)])
def test_a_file_that_holds_no_usable_key_is_one_sentence(tmp_path: Path, kind: str, public: bytes | None) -> None:
    """The file is named, its content is not shown, and the hint says what is expected."""
    path = tmp_path / "key.pem"
    path.write_bytes(UNUSABLE[kind])
    with pytest.raises(ConfigError) as caught:
        signer_of(f"file2:{path}", public)
    assert str(path) in str(caught.value)
    assert "unencrypted PEM key" in caught.value.hint
    assert "garbage" not in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    """In the system's words."""
    with pytest.raises(ConfigError, match="No such file or directory"):
        signer_of(f"file2:{tmp_path}/none.pem", None)


def test_a_public_part_that_is_not_the_keys_own_is_refused(tmp_path: Path) -> None:
    """What it signs could not be verified."""
    (tmp_path / "key.pem").write_bytes(pkcs8(1))
    with pytest.raises(ConfigError, match="cannot be used"):
        signer_of(f"file2:{tmp_path}/key.pem", public_pem(LIVE))


def test_no_private_key_is_written(opened: ReadRepository) -> None:
    """Only public ones stand in the root."""
    written = b"".join(opened.files.values())
    assert b"PRIVATE" not in written
    assert not [seed for seed in (1, 3) if (bytes([seed]) * 32).hex().encode() in written]


def test_what_a_gateway_would_not_take_in_is_not_published(shop: ReadRepository) -> None:
    """A list of products that is none, for one."""
    with pytest.raises(RefusedError):
        shop.first(compatible=("gateway 2",))
    assert not shop.repository.exists()
