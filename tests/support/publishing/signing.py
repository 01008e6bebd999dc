"""A publisher of signed bundles, written with python-tuf's own API and with nothing of the agent's.

It does what an honest publisher does, and every step can be bent: a role's content is changed before it is written,
other keys sign it, or what was written is replaced by anything at all.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from hashlib import sha256
from io import BytesIO
from itertools import count
from tarfile import TarFile, TarInfo
from typing import TYPE_CHECKING, Any

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from securesystemslib.signer import Key
    from tuf.api.metadata import Signed

ROLES = ("root", "timestamp", "snapshot", "targets")
TARGET = "anchors.pem"
MONTH = timedelta(days=30)
_turn = count()


def ed25519() -> CryptoSigner:
    """Return a new key of the kind that most publishers use."""
    return CryptoSigner.generate_ed25519()


def ecdsa() -> CryptoSigner:
    """Return a new key on the curve P-256."""
    return CryptoSigner.generate_ecdsa()


def rsa() -> CryptoSigner:
    """Return an RSA key, which signs with PSS: one for each role, in turn, since a new one takes 0.2 s."""
    return _rsa(next(_turn) % len(ROLES))


@cache
def _rsa(_number: int) -> CryptoSigner:
    return CryptoSigner.generate_rsa(size=2048)


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What a publisher always does alike.

    Attributes:
        keys: How many keys each role has.
        threshold: How many of them must sign.
        kind: What makes a key.
        consistent: Whether names carry versions and hashes.
        hashed: Whether each list says length and hash of what it lists.
    """

    keys: int = 1
    threshold: int = 1
    kind: Callable[[], CryptoSigner] = ed25519
    consistent: bool = True
    hashed: bool = False


@dataclass
class Publisher:
    """One repository in memory.

    Attributes:
        now: When everything expires a month from.
        habits: What it always does alike.
        files: What is published, by name within the repository.
        signers: Who signs for each role.
        signed: What each role says, as it will be written next.
    """

    now: datetime
    habits: Habits = field(default_factory=Habits)
    files: dict[str, bytes] = field(default_factory=dict)
    signers: dict[str, list[CryptoSigner]] = field(default_factory=dict)
    signed: dict[str, Signed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.signers = {role: self.new_keys() for role in ROLES}
        expires = self.now + MONTH
        roles = {
            role: Role([signer.public_key.keyid for signer in signers], self.habits.threshold)
            for role, signers in self.signers.items()
        }
        keys: dict[str, Key] = {
            signer.public_key.keyid: signer.public_key for signers in self.signers.values() for signer in signers
        }
        self.signed = {
            "root": Root(1, None, expires, keys, roles, self.habits.consistent),
            "timestamp": Timestamp(1, None, expires),
            "snapshot": Snapshot(1, None, expires),
            "targets": Targets(1, None, expires),
        }
        self.write("root")

    # -- what each role says ---------------------------------------------------------------------------------------

    @property
    def root(self) -> Root:
        """What the root says."""
        found = self.signed["root"]
        assert isinstance(found, Root)
        return found

    @property
    def timestamp(self) -> Timestamp:
        """What the timestamp says."""
        found = self.signed["timestamp"]
        assert isinstance(found, Timestamp)
        return found

    @property
    def snapshot(self) -> Snapshot:
        """What the snapshot says."""
        found = self.signed["snapshot"]
        assert isinstance(found, Snapshot)
        return found

    @property
    def targets(self) -> Targets:
        """What the list of targets says."""
        found = self.signed["targets"]
        assert isinstance(found, Targets)
        return found

    @property
    def first_root(self) -> bytes:
        """The root that a gateway gets at manufacture."""
        return self.files["metadata/1.root.json"]

    def name_of(self, role: str) -> str:
        """Return the name of a role's file as it would be written now."""
        numbered = role == "root" or (self.habits.consistent and role != "timestamp")
        return f"metadata/{self.signed[role].version}.{role}.json" if numbered else f"metadata/{role}.json"

    def new_keys(self) -> list[CryptoSigner]:
        """Return as many keys as a role has."""
        return [self.habits.kind() for _ in range(self.habits.keys)]

    # -- publishing ------------------------------------------------------------------------------------------------

    def publish(self, data: bytes, *, custom: object = None, name: str = TARGET) -> dict[str, bytes]:
        """Publish a bundle as the next version of everything but the root, and return the whole repository."""
        listed = TargetFile.from_data(name, data, ["sha256"])
        if custom is not None:
            listed.unrecognized_fields["custom"] = custom
        self.targets.targets[name] = listed
        self.put(data, name)
        first = "timestamp" not in {path.rpartition("/")[2].removesuffix(".json") for path in self.files}
        if not first:
            self.targets.version += 1
        self.write("targets")
        return self.relist(bump=not first)

    def put(self, data: bytes, name: str = TARGET, *, listed: bytes | None = None) -> None:
        """Put a target's bytes where a client looks for them; `listed` is what the list of targets speaks of."""
        folder, slash, base = name.rpartition("/")
        prefix = f"{sha256(listed or data).hexdigest()}." if self.habits.consistent else ""
        self.files[f"targets/{folder}{slash}{prefix}{base}"] = data

    def relist(self, *, bump: bool = True) -> dict[str, bytes]:
        """Let snapshot and timestamp name what is there now, sign both, and return the whole repository."""
        self.snapshot.meta["targets.json"] = self._listed("targets")
        self.snapshot.version += bump
        self.write("snapshot")
        return self.restamp(bump=bump)

    def restamp(self, *, bump: bool = True) -> dict[str, bytes]:
        """Let the timestamp name the snapshot that is there now, sign it, and return the whole repository."""
        self.timestamp.snapshot_meta = self._listed("snapshot")
        self.timestamp.version += bump
        self.write("timestamp")
        return dict(self.files)

    def _listed(self, role: str) -> MetaFile:
        version, data = self.signed[role].version, self.files[self.name_of(role)]
        if not self.habits.hashed:
            return MetaFile(version)
        return MetaFile.from_data(version, data, ["sha256"])

    def write(self, role: str, *, signers: Iterable[CryptoSigner] | None = None) -> bytes:
        """Sign a role as it stands, by its own keys unless others are given, and put it into the repository."""
        metadata: Metadata[Any] = Metadata(deepcopy(self.signed[role]))
        for signer in self.signers[role] if signers is None else signers:
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer())
        self.files[self.name_of(role)] = data
        return data

    def expire(self, role: str, at: datetime) -> dict[str, bytes]:
        """Publish a role's next version that ends at an instant, with whatever lists it."""
        self.signed[role].expires = at
        if role == "root":
            self.rotate()
            return dict(self.files)
        if role == "timestamp":
            return self.restamp()
        self.signed[role].version += role == "targets"
        self.write(role)
        return self.relist()

    # -- keys ------------------------------------------------------------------------------------------------------

    def rotate(self, *roles: str) -> bytes:
        """Publish the next root, with new keys for these roles, signed by the root's old keys and its new ones."""
        before = list(self.signers["root"])
        self.root.version += 1
        for role in roles:
            self.replace_keys(role, self.new_keys())
        both = {signer.public_key.keyid: signer for signer in [*before, *self.signers["root"]]}
        return self.write("root", signers=both.values())

    def replace_keys(self, role: str, signers: list[CryptoSigner]) -> None:
        """Give a role other keys; the root says so once it is written."""
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        for signer in signers:
            self.root.add_key(signer.public_key, role)
        self.signers[role] = signers

    def resign(self, *roles: str) -> dict[str, bytes]:
        """Publish the next version of everything, for the keys are new; the roles say whose is written anew first."""
        for role in roles:
            self.signed[role].version += 1
            self.write(role)
        return self.relist()


def sign_plain(signed: Any, signers: Iterable[CryptoSigner]) -> bytes:
    """Sign any JSON as metadata, as a signer of another kind might: nothing looks at what it says."""
    payload = str(encode_canonical(signed)).encode()
    signatures = [{"keyid": signer.public_key.keyid, "sig": signer.sign(payload).signature} for signer in signers]
    return json.dumps({"signatures": signatures, "signed": signed}).encode()


def edited(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return metadata changed after it was signed."""
    plain = json.loads(data)
    change(plain)
    return json.dumps(plain).encode()


def archive(files: Mapping[str, bytes], *, mode: str = "w") -> bytes:
    """Return files as a tar archive, the way `tar -cf` or, with the mode ``w:gz``, `tar -czf` makes one."""
    target = BytesIO()
    with TarFile.open(fileobj=target, mode=mode) as made:  # type: ignore[call-overload] # the mode is the test's
        for name, data in files.items():
            member = TarInfo(name)
            member.size = len(data)
            made.addfile(member, BytesIO(data))
    return target.getvalue()
