"""New trust anchors, from wherever they come, through one path: verify, lint, compare, and plan a `trust` change.

Four ways lead here: a drop in the inbox, the command, a job, and a newer baked copy. What follows is the engine's:
the anchors are proven alone against the live endpoint before they are used, and given up again if they do not hold.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from agent.change.world import read_clock
from agent.config.files import read_bounded
from agent.core.aws.endpoints import chains_to_amazon
from agent.core.frozen import frozen
from agent.core.jsonio import PlainError, decode
from agent.core.text import in_shell
from agent.core.text_files import NoTextError, decoded
from agent.core.trust import anchor_lint, updates
from agent.core.trust.updates import BundleOutcome
from agent.core.values import Origin, Provenance, TrustSource
from agent.crypto import root_lists, x509
from agent.errors import BundleError, ConfigError, MaterialError, RefusedError, StoreError
from agent.operations.wiring import load_anchors
from agent.store.files import directories
from agent.trust import inbox, tuf_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent.config.values import Config
    from agent.core import timekeeping
    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import TrustBundle
    from agent.operations.wiring import Parts
    from agent.trust.download import Downloader
    from agent.trust.tuf_client import SignedBundle, Source

MAX_ROOT = 262_144  # bytes of root.json


@frozen
class Receipt:
    """What became of anchors, or of a set, at once.

    Attributes:
        change: The change that was planned, or None when that very thing is in use.
        told: What the one who brought it is told.
    """

    change: ChangeRecord | None
    told: BundleOutcome = field(default_factory=BundleOutcome)


def files_at(path: Path, digest: str | None = None) -> Source:
    """Return the repository in a file or directory that a person named.

    Args:
        path: Where.
        digest: The SHA-256 that an archive must have, hexadecimal, or None.

    Raises:
        BundleError: It cannot be read as one, or is another one.
    """
    from agent.trust.archives import read_directory, read_file  # noqa: PLC0415 - only where a bundle has come
    from agent.trust.tuf_client import METADATA, Files  # noqa: PLC0415 - it brings python-tuf along

    try:
        is_directory = path.is_dir()
    except OSError as error:
        text = f"{str(path)[:200]} cannot be read: {os.strerror(error.errno or 0)}."
        raise BundleError(
            "unreadable", text, hint="Run it with sudo." if error.errno == errno.EACCES else ""
        ) from error
    if is_directory and digest is not None:
        raise BundleError("malformed-document", "A hash is that of an archive, not of a repository's directory.")
    if is_directory:
        files = read_directory(path)
        if not any(name.startswith(METADATA) for name in files):
            text = f"{path} is no repository of signed bundles: `{METADATA}` is not in it."
            raise BundleError("archive", text, hint="Name the directory that `iot-cert trust publish` made.")
        return Files(files)
    data = read_file(path)
    _check_hash(data, digest, str(path))
    return Files(_archive(data, str(path)))


def _check_hash(data: bytes, digest: str | None, name: str) -> None:
    if digest is not None and sha256(data).hexdigest() != digest.lower():
        raise BundleError("wrong-hash", f"{name} does not have the hash that was named.")


def _archive(data: bytes, name: str) -> Mapping[str, bytes]:
    from agent.trust.archives import read_archive  # noqa: PLC0415 - as above

    if data.lstrip()[:1] in {b"-", b"#"} and b"-----BEGIN CERTIFICATE-----" in data:
        hint = (
            "Sign it: `iot-cert trust publish` makes a bundle of it. On this gateway alone "
            f"`sudo iot-cert import --from {in_shell(name)}` adds them to the anchors in use."
        )
        raise BundleError("unsigned", f"{name} holds certificates that no signer vouches for.", hint=hint)
    return read_archive(data)


def remote_at(url: str, config: Config, current: TrustBundle | None, digest: str | None = None) -> Source:
    """Return the repository under a URL: below it when it ends with a slash, else an archive.

    Args:
        url: Where; `https` only.
        config: For the proxy.
        current: The anchors in use, which the server may chain to besides the system's.
        digest: The SHA-256 that an archive must have, hexadecimal, or None.

    Raises:
        BundleError: It cannot be had, or is another one.
    """
    from agent.trust.download import Downloader, check_url, plain_url  # noqa: PLC0415 - it brings a mail parser along
    from agent.trust.tuf_client import Files, Remote  # noqa: PLC0415

    check_url(url)
    downloader: Downloader = Downloader(current.pem if current else b"", config.proxy)
    if url.partition("?")[0].endswith("/"):
        if "?" in url:
            raise BundleError("url", "A repository's URL has no query; what is presigned is an archive.")
        if digest is not None:
            raise BundleError("malformed-document", "A hash is that of an archive, not of a repository's URL.")
        return Remote(url, downloader)
    data = downloader.read(url, updates.MAX_ARCHIVE)
    _check_hash(data, digest, plain_url(url))
    return Files(_archive(data, plain_url(url)))


def verify(config: Config, source: Source, clock: timekeeping.Reading) -> SignedBundle:
    """Verify a bundle, and make durable what was learnt of its signers even when it is refused.

    Raises:
        BundleError: It is refused, or cannot be judged now.
        StoreError: What was learnt could not be made durable.
    """
    from agent.trust.tuf_client import BundleReader  # noqa: PLC0415

    if config.trust.root is None:
        hint = "Put the signers' root.json on the gateway and name it as `trust.root`."
        raise BundleError(
            "no-root", "This gateway accepts no signed bundles: no `trust.root` is configured.", hint=hint
        )
    root = read_root(config.trust.root)
    before = tuf_state.read(config.state_dir)
    reader = BundleReader(root, before, clock)
    try:
        return reader.read(source, config.trust.target)
    finally:
        if reader.memory != before:
            tuf_state.write(config.state_dir, reader.memory)


def read_root(path: Path) -> bytes:
    """Return the `root.json` that bundles are verified from; what it holds is python-tuf's to judge.

    Raises:
        BundleError: It is no text, or cannot be read.
    """
    try:
        return decoded(read_bounded(path, MAX_ROOT, "trusted root.json")).encode()
    except (ConfigError, NoTextError) as error:
        text = str(error) if isinstance(error, ConfigError) else f"{path}: {error}"
        hint = getattr(error, "hint", "") or "`trust.root` must name it."
        raise BundleError("trusted-root", text, hint=hint) from error


def check_root(path: Path) -> None:
    """Check a `root.json` as far as that can be done before a bundle comes.

    Raises:
        BundleError: It cannot be read, or is no JSON object, so no bundle is taken.
    """
    try:
        decode(read_root(path), str(path), limit=MAX_ROOT)
    except PlainError as error:
        raise BundleError("trusted-root", str(error), hint="Put the signers' root.json there.") from None


def anchors_of(config: Config, signed: SignedBundle, clock: timekeeping.Reading) -> TrustBundle:
    """Return the anchors in a verified bundle.

    Raises:
        BundleError: It is for another product, or its content cannot serve as anchors.
    """
    mine = config.trust.compatible
    if signed.compatible and mine not in signed.compatible:
        am = f"this gateway is {mine}" if mine else "this gateway does not say what it is (`trust.compatible`)"
        wants = ", ".join(signed.compatible)[:200]
        raise BundleError("incompatible", f"The bundle is for {wants}, and {am}.", hint="Ship it to those gateways.")
    try:
        findings = anchor_lint.lint(
            x509.read_store(signed.data), root_lists.known(), clock.now, soon=config.trust.warn[0], amazon=False
        )
        bad = [finding for finding in findings if finding.severity is anchor_lint.Severity.ERROR]
        if bad:
            raise BundleError("lint", f"The bundle cannot serve as trust anchors: {bad[0].message}", hint=bad[0].remedy)
        bundle = x509.read_bundle(signed.data)
    except MaterialError as error:
        raise BundleError("lint", f"The bundle cannot serve as trust anchors: {error}.", hint=error.hint) from None
    provenance = Provenance(source=TrustSource.BUNDLE, version=signed.version, issued_at=signed.issued_at)
    return replace(bundle, provenance=provenance)


class Receiver:
    """Takes bundles in on an open store with no change in flight."""

    def __init__(self, config: Config, parts: Parts) -> None:
        self._config = config
        self._parts = parts

    @property
    def _clock(self) -> timekeeping.Reading:
        return read_clock(self._parts.clock, self._parts.store)

    def read(self, source: Source) -> TrustBundle:
        """Verify a bundle and return its anchors.

        Raises:
            BundleError: It is refused, or cannot be judged now.
            RefusedError: There is no set to put them into.
            StoreError: What was learnt of its signers could not be made durable.
        """
        if self._parts.change.sets.usable() is None:
            hint = "Run `iot-cert enroll` first."
            raise RefusedError("This gateway has no usable set to give other anchors to.", hint=hint)
        clock = self._clock
        return anchors_of(self._config, verify(self._config, source, clock), clock)

    def take_in(self, source: Source, origin: Origin, reason: str, order: str = "") -> Receipt:
        """Verify a bundle and plan the change that installs it.

        Raises:
            BundleError: It is refused, or cannot be judged now.
            RefusedError: This gateway is in no state for it.
            StoreError: It could not be written.
        """
        trust = self.read(source)
        return self.install(trust, origin, f"{reason}: {trust.provenance}", order)

    def install(self, trust: TrustBundle, origin: Origin, reason: str, order: str = "") -> Receipt:
        """Plan the change that installs anchors which may be used.

        Raises:
            RefusedError: This gateway is in no state for it.
            StoreError: It could not be written.
        """
        now = self._parts.clock.now()
        soon, amazon = self._config.trust.warn[0], chains_to_amazon(self._config.endpoint)
        found = anchor_lint.lint(
            anchor_lint.entries_of(trust.anchors), root_lists.known(), now, soon=soon, amazon=amazon
        )
        anchors = replace(
            self.differences(trust),
            version=trust.provenance.version if trust.provenance else None,
            warnings=tuple(item.message for item in found if item.severity is not anchor_lint.Severity.INFORMATION),
        )
        change = self._parts.change.planner.install(trust, origin, reason, order)
        told = updates.unchanged(now, anchors) if change is None else updates.outcome_of(change, anchors)
        return Receipt(change=change, told=told)

    def differences(self, trust: TrustBundle) -> BundleOutcome:
        """Return what these anchors add to those in use, and take from them."""
        before = self._parts.change.sets.usable()
        return BundleOutcome() if before is None else updates.differences(before.trust, trust)

    def take_drop(self, name: str) -> ChangeRecord | None:
        """Take one drop in from the inbox, say what became of it, and remove it unless it is to wait.

        Returns:
            The change that it became, or None.

        Raises:
            StoreError: The inbox or the store could not be used.
        """
        where, now = self._config.inbox, self._parts.clock.now()
        drop = inbox.look(where, name)
        if drop is None:
            return None
        try:
            receipt = self._read_drop(drop)
        except FileNotFoundError:
            return None
        except BundleError as error:
            self._settle(where, drop, updates.refusal(error.code, error, now, passing=error.passing))
            raise
        except RefusedError as error:
            self._settle(where, drop, updates.refusal("not-now", error, now, passing=True))
            raise
        self._settle(where, drop, receipt.told)
        return receipt.change

    def _read_drop(self, drop: inbox.Drop) -> Receipt:
        from agent.trust.tuf_client import Files  # noqa: PLC0415

        data = inbox.read(self._config.inbox, drop.name)
        order = updates.inbox_order(drop.name, sha256(data).hexdigest())
        before = self._planned_before(drop, order)
        if before is not None:
            return Receipt(change=None, told=updates.outcome_of(before, BundleOutcome()))
        return self.take_in(Files(_archive(data, drop.name)), Origin.INBOX, f"{drop.name} in the inbox", order)

    def _planned_before(self, drop: inbox.Drop, order: str) -> ChangeRecord | None:
        """Return the change that this drop became already, before a power cut kept the inbox from being told.

        What was told of, or came after the change, was dropped again on purpose.
        """
        records = [record for record in self._parts.store.history() if record.order == order]
        if not records or drop.changed_at > records[-1].planned_at.timestamp():
            return None
        told = inbox.read_outcome(self._config.inbox, drop.name)
        return None if told.change in {record.id for record in records} else records[-1]

    @staticmethod
    def _settle(where: Path, drop: inbox.Drop, told: BundleOutcome) -> None:
        inbox.write_outcome(where, drop.name, told)
        if told.outcome != "waiting":
            inbox.remove(where, drop.name, drop)

    def take_baked(self) -> ChangeRecord | None:
        """Take the baked copy up when it is newer than the anchors in use; an OS image ships anchors so.

        Returns:
            The change that it became, or None.
        """
        current = self._parts.change.sets.usable()
        if current is None:
            return None
        try:
            baked = load_anchors(self._config)
        except MaterialError:
            return None  # `check` says so; the anchors in use do not depend on it
        if not updates.is_newer(baked, current.trust, self._parts.store.history()):
            return None
        reason = f"newer than those in use: those from {baked.provenance}"
        return self.install(baked, Origin.IMAGE, reason, updates.baked_order(baked)).change


def make_inbox(config: Config) -> None:
    """Make the inbox in the state directory where bundles are accepted; one elsewhere is its owner's.

    Raises:
        StoreError: It could not be made.
    """
    if config.trust.root is not None and config.trust.inbox is None:
        directories.create_path(config.inbox)


def conclude(config: Config, records: Iterable[ChangeRecord]) -> None:
    """Write into the inbox how changes ended that came from there; what cannot be written is left for the next time."""
    latest = {name: record for record in records if (name := updates.drop_of(record.order))}
    for name, record in latest.items():
        with suppress(StoreError):
            _conclude(config, name, record)


def _conclude(config: Config, name: str, record: ChangeRecord) -> None:
    told = inbox.read_outcome(config.inbox, name)
    current = updates.outcome_of(record, told)
    if told.change == record.id and current != told:
        inbox.write_outcome(config.inbox, name, current)
