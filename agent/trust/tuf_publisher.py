"""Makes and re-signs a repository of signed trust bundles, for a pipeline: the other end of `agent.trust.tuf_client`.

Rules:

* What is written depends on nothing but what is given, the time included: the same input makes the same bytes, as far
  as the keys do (Ed25519 and RSA PKCS #1 do, ECDSA draws a number for each signature).
* A version is never used twice, and nothing that was published is changed; `timestamp.json`, which a gateway reads
  first, is written last.
* Nothing is signed again whose own signature does not hold, and nothing is written that a gateway would not accept.
* A private key is only ever named by a URI and used through securesystemslib's signers; none is written.
"""

from __future__ import annotations

import hashlib
import re
from copy import deepcopy
from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from agent.core.frozen import frozen
from agent.core.jsonio import to_plain
from agent.core.text import counted
from agent.core.timekeeping import ClockState, Reading
from agent.errors import BundleError, RefusedError
from agent.trust import repository_files
from agent.trust.tuf_client import LIMITS, METADATA, TARGETS, BundleReader, Files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from securesystemslib.signer import Signer

ROLES = ("root", "targets", "snapshot", "timestamp")
EXPIRES = {
    "root": timedelta(days=3650),
    "targets": timedelta(days=365),
    "snapshot": timedelta(days=365),
    "timestamp": timedelta(days=90),
}

_ROOT = re.compile(r"(\d+)\.root\.json")


@frozen
class Publication:
    """What is to be published.

    Attributes:
        anchors: The bundle, or None to sign again what is there.
        target: Its name in the list of targets.
        now: The time of publication, to the second.
        signers: Who signs for each role.
        old_root_signers: Who signed for the root before, when its keys are replaced.
        thresholds: How many signatures a role needs; 1 where it is not said.
        expires: How long each role's signatures last.
        compatible: The products the bundle is for; empty for all.
        renew: Roles that get a new version although nothing in them changed.
        replace_keys: Whether each role that is signed for gets exactly the keys that are given.
        notes: What else is written about the bundle.
    """

    anchors: bytes | None
    target: str
    now: datetime
    signers: Mapping[str, list[Signer]]
    old_root_signers: list[Signer] = field(default_factory=list)
    thresholds: Mapping[str, int] = field(default_factory=dict)
    expires: Mapping[str, timedelta] = field(default_factory=dict)
    compatible: tuple[str, ...] = ()
    renew: frozenset[str] = frozenset()
    replace_keys: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)


@frozen
class Published:
    """What was published.

    Attributes:
        versions: The version of each role.
        files: Every file that a gateway needs, by its name within the repository.
    """

    versions: Mapping[str, int]
    files: Mapping[str, bytes]


def publish(directory: Path, wanted: Publication) -> Published:
    """Publish into a repository's directory, which is made when it is not there.

    Raises:
        RefusedError: Signers are missing, or there is nothing to publish.
        StoreError: It could not be written; what was published before still holds.
    """
    before = repository_files.read(directory)
    roles = _Roles(before, wanted)
    try:
        new = roles.publish()
        files = {**before, **new}
        needed = {name: files[name] for name in roles.needed}
        _prove(needed, roles, wanted.now)
    except (RepositoryError, BundleError, ValueError, KeyError, AttributeError, TypeError, OverflowError) as error:
        text = f"The repository in {directory} cannot be continued ({str(error)[:200]})."
        raise RefusedError(text, hint="Check the keys, and that its files are whole.") from None
    repository_files.write(directory, new)
    return Published(versions=roles.versions, files=needed)


def _prove(needed: Mapping[str, bytes], roles: _Roles, now: datetime) -> None:
    """Read what is to be published as a gateway does that knows the first root alone.

    Raises:
        BundleError: A gateway would not accept it.
    """
    oldest = max(1, roles.versions["root"] - LIMITS.max_root_rotations + 1)
    clock = Reading(now=now, state=ClockState.SYNCHRONISED, floor=now)
    BundleReader(needed[f"{METADATA}{oldest}.root.json"], {}, clock).read(Files(needed), roles.target)


class _Roles:
    """The four roles of one repository while it is published."""

    def __init__(self, files: Mapping[str, bytes], wanted: Publication) -> None:
        self._files = files
        self._wanted = wanted
        self._new: dict[str, bytes] = {}
        self._roots: list[Root] = []  # that were published before
        self.target = ""
        self.versions: dict[str, int] = {}
        self.needed: list[str] = []

    def publish(self) -> dict[str, bytes]:
        root = self._root()
        targets = self._targets(root)
        snapshot = self._snapshot(root, targets)
        self._timestamp(root, snapshot)
        return self._new

    # -- the root --------------------------------------------------------------------------------------------------

    def _root(self) -> Metadata[Root]:
        versions = sorted(int(match[1]) for name in self._files if (match := _ROOT.fullmatch(name[len(METADATA) :])))
        if not versions:
            root = self._first_root()
        else:
            root = self._known_root(versions[-1])
            renewed = "root" in self._wanted.renew or root.signed.is_expired(self._wanted.now)
            if self._wanted.replace_keys or renewed:
                root = self._next_root(root)
        self.needed += [f"{METADATA}{version}.root.json" for version in range(1, root.signed.version + 1)]
        self.versions["root"] = root.signed.version
        return root

    def _known_root(self, latest: int) -> Metadata[Root]:
        """Return the newest root, once each is known to follow from the one before."""
        files = [self._files[f"{METADATA}{version}.root.json"] for version in range(1, latest + 1)]
        roots = [Metadata[Root].from_bytes(data) for data in files]
        for before, root in zip([roots[0], *roots], roots, strict=False):
            for verifier in (before.signed, root.signed):
                verifier.verify_delegate("root", root.signed_bytes, root.signatures)
        self._roots = [root.signed for root in roots]
        self._refuse_thresholds(roots[-1].signed)
        return roots[-1]

    def _refuse_thresholds(self, root: Root) -> None:
        """Refuse a threshold that could not come into force."""
        for role, number in self._wanted.thresholds.items():
            replaced = self._wanted.replace_keys and role in self._wanted.signers
            if number != root.roles[role].threshold and not replaced:
                raise RefusedError(
                    f"The role {role} needs {counted(root.roles[role].threshold, 'signature')}; wanted: {number}.",
                    hint=f"Name all its keys with --key {role}=URI, and --replace-keys.",
                )

    def _first_root(self) -> Metadata[Root]:
        missing = [role for role in ROLES if not self._wanted.signers.get(role)]
        if missing:
            raise RefusedError(
                f"A new repository needs a key for each role, and there is none for {', '.join(missing)}.",
                hint="Name them with --key root=file2:root.pem --key targets,snapshot,timestamp=file2:online.pem.",
            )
        keys = {signer.public_key.keyid: signer.public_key for role in ROLES for signer in self._wanted.signers[role]}
        roles = {role: self._role(role, self._wanted.signers[role]) for role in ROLES}
        root = Metadata(Root(1, None, self._expiry("root"), keys, roles, consistent_snapshot=True))
        return self._signed_root(root, root, self._wanted.signers["root"])

    def _role(self, role: str, signers: Iterable[Signer], usual: int = 1) -> Role:
        ids = list(dict.fromkeys(signer.public_key.keyid for signer in signers))
        threshold = self._wanted.thresholds.get(role, usual)
        if threshold > len(ids):
            wanted = counted(threshold, "signature")
            raise RefusedError(f"The role {role} is to need {wanted} and has {counted(len(ids), 'key')}.")
        return Role(ids, threshold)

    def _next_root(self, before: Metadata[Root]) -> Metadata[Root]:
        root = Metadata(deepcopy(before.signed))
        root.signed.version += 1
        root.signed.expires = self._expiry("root")
        if self._wanted.replace_keys:
            for role, signers in self._wanted.signers.items():
                root.signed.roles[role] = self._role(role, signers, root.signed.roles[role].threshold)
                for signer in signers:
                    root.signed.keys[signer.public_key.keyid] = signer.public_key
            used = {keyid for role in root.signed.roles.values() for keyid in role.keyids}
            root.signed.keys = {keyid: key for keyid, key in root.signed.keys.items() if keyid in used}
        return self._signed_root(root, before, [*self._wanted.old_root_signers, *self._wanted.signers.get("root", [])])

    def _signed_root(self, root: Metadata[Root], before: Metadata[Root], signers: list[Signer]) -> Metadata[Root]:
        """Sign a root, which must satisfy the root before it and itself (TUF specification, section 6.1)."""
        allowed = {*root.signed.roles["root"].keyids, *before.signed.roles["root"].keyids}
        _sign(root, [signer for signer in signers if signer.public_key.keyid in allowed])
        for verifier in (before.signed, root.signed):
            _check("root", verifier, root)
        self._new[f"{METADATA}{root.signed.version}.root.json"] = root.to_bytes(JSONSerializer())
        return root

    # -- the others ------------------------------------------------------------------------------------------------

    def _targets(self, root: Metadata[Root]) -> Metadata[Targets]:
        before = self._latest("targets")
        targets = Metadata(deepcopy(before.signed) if before else Targets(1, None, self._expiry("targets"), {}))
        if self._wanted.anchors is not None:
            targets.signed.targets = {self._wanted.target: self._target_file(self._wanted.anchors)}
        if not targets.signed.targets:
            raise RefusedError("There is nothing to publish.", hint="Name the bundle with --anchors FILE.")
        name, info = next(iter(targets.signed.targets.items()))
        self.target = name
        self.needed.append(f"{TARGETS}{_prefixed(name, info.hashes['sha256'])}")
        same = before is not None and before.signed.targets == targets.signed.targets
        if before is not None and same and not self._must_sign("targets", root, before):
            return self._keep("targets", before)
        return self._sign_role("targets", root, targets, before)

    def _target_file(self, data: bytes) -> TargetFile:
        digest = hashlib.sha256(data).hexdigest()
        custom: dict[str, Any] = {"issued": to_plain(self._wanted.now), **self._wanted.notes}
        if self._wanted.compatible:
            custom["compatible"] = list(self._wanted.compatible)
        self._new[f"{TARGETS}{_prefixed(self._wanted.target, digest)}"] = data
        known = self._latest("targets")
        before = known.signed.targets.get(self._wanted.target) if known else None
        if before is not None and before.hashes.get("sha256") == digest:
            told = before.unrecognized_fields.get("custom", {})
            custom["issued"] = told.get("issued", custom["issued"])  # the same anchors were issued when they were
        return TargetFile(len(data), {"sha256": digest}, self._wanted.target, {"custom": custom})

    def _snapshot(self, root: Metadata[Root], targets: Metadata[Targets]) -> Metadata[Snapshot]:
        before = self._latest("snapshot")
        snapshot = Metadata(deepcopy(before.signed) if before else Snapshot(1, None, self._expiry("snapshot"), {}))
        meta = self._meta_of(f"{METADATA}{targets.signed.version}.targets.json", targets.signed.version)
        same = before is not None and before.signed.meta.get("targets.json") == meta
        snapshot.signed.meta = {"targets.json": meta}
        if before is not None and same and not self._must_sign("snapshot", root, before):
            return self._keep("snapshot", before)
        return self._sign_role("snapshot", root, snapshot, before)

    def _timestamp(self, root: Metadata[Root], snapshot: Metadata[Snapshot]) -> None:
        before = self._latest("timestamp")
        version = snapshot.signed.version
        meta = self._meta_of(f"{METADATA}{version}.snapshot.json", version)
        timestamp = Metadata(deepcopy(before.signed) if before else Timestamp(1, None, self._expiry("timestamp"), meta))
        timestamp.signed.snapshot_meta = meta
        self._sign_role("timestamp", root, timestamp, before)

    def _must_sign(self, role: str, root: Metadata[Root], before: Metadata[Any]) -> bool:
        """Whether a role needs a new version although what it says is the same."""
        if role in self._wanted.renew:
            return True
        try:
            root.signed.verify_delegate(role, before.signed_bytes, before.signatures)
        except RepositoryError:
            return True  # its keys were replaced
        if before.signed.is_expired(self._wanted.now):
            return True
        ends_first = before.signed.expires < self._expiry("timestamp")  # so it is not signed again in time
        allowed = root.signed.roles[role].keyids
        return ends_first and any(item.public_key.keyid in allowed for item in self._wanted.signers.get(role, []))

    def _sign_role(
        self, role: str, root: Metadata[Root], metadata: Metadata[Any], before: Metadata[Any] | None
    ) -> Metadata[Any]:
        metadata.signed.version = before.signed.version + 1 if before else 1
        metadata.signed.expires = self._expiry(role)
        allowed = set(root.signed.roles[role].keyids)
        _sign(metadata, [item for item in self._wanted.signers.get(role, []) if item.public_key.keyid in allowed])
        _check(role, root.signed, metadata)
        name = role if role == "timestamp" else f"{metadata.signed.version}.{role}"
        self._new[f"{METADATA}{name}.json"] = metadata.to_bytes(JSONSerializer())
        return self._keep(role, metadata)

    def _keep(self, role: str, metadata: Metadata[Any]) -> Metadata[Any]:
        version = metadata.signed.version
        self.versions[role] = version
        self.needed.append(f"{METADATA}{role if role == 'timestamp' else f'{version}.{role}'}.json")
        return metadata

    def _latest(self, role: str) -> Metadata[Any] | None:
        """Return the newest published metadata of a role, which is not always the newest that lies there."""
        name = f"{METADATA}timestamp.json"
        if name not in self._files:
            return None
        timestamp = Metadata[Timestamp].from_bytes(self._files[name])
        self._hold("timestamp", timestamp)
        if role == "timestamp":
            return timestamp
        version = timestamp.signed.snapshot_meta.version
        snapshot = Metadata[Snapshot].from_bytes(self._files[f"{METADATA}{version}.snapshot.json"])
        self._hold("snapshot", snapshot)
        if role == "snapshot":
            return snapshot
        version = snapshot.signed.meta["targets.json"].version
        targets = Metadata[Targets].from_bytes(self._files[f"{METADATA}{version}.targets.json"])
        self._hold("targets", targets)
        return targets

    def _hold(self, role: str, before: Metadata[Any]) -> None:
        """Refuse to go on from what its role's keys did not sign: a process that may write here need not have a key.

        When keys are replaced, and an attempt before wrote the root alone, those of any root will do.
        """
        roots = self._roots if self._wanted.replace_keys else self._roots[-1:]
        found = [root.get_verification_result(role, before.signed_bytes, before.signatures) for root in roots]
        if before.signed.type != role or not any(item.verified for item in found):
            raise RefusedError(
                f"What is published for the role {role} is not signed by its keys; nothing was published.",
                hint="Restore the repository from a copy; after a replacement of keys that was cut short, repeat it.",
            )

    def _meta_of(self, name: str, version: int) -> MetaFile:
        data = self._new.get(name) or self._files[name]
        return MetaFile(version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def _expiry(self, role: str) -> datetime:
        return self._wanted.now + self._wanted.expires.get(role, EXPIRES[role])


def _prefixed(name: str, digest: str) -> str:
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{digest}.{base}"


def _sign(metadata: Metadata[Any], signers: Iterable[Signer]) -> None:
    metadata.signatures.clear()
    for signer in {signer.public_key.keyid: signer for signer in signers}.values():
        try:
            metadata.sign(signer, append=True)
        except Exception as error:  # noqa: BLE001 - as in `signing_keys`
            raise RefusedError(f"A signer could not sign ({type(error).__name__}); nothing was published.") from None


def _check(role: str, verifier: Root, metadata: Metadata[Any]) -> None:
    """Refuse to publish what no gateway would accept."""
    found = verifier.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    if not found.verified:
        text = f"The role {role} needs {counted(found.threshold, 'signature')} and got {len(found.signed)}"
        raise RefusedError(f"{text}; nothing was published.", hint=f"Name its keys with --key {role}=URI.")
