"""Single looks of the doctor's at files, certificates and versions: each says what is there and judges nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from ssl import TLSVersion
from typing import TYPE_CHECKING

from agent.config.asked import asked_of
from agent.config.files import read_bounded
from agent.core.exit_codes import Exit
from agent.core.failure import readmission
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.report.checks import UNENROLLED, Line, failure, skipped, warning
from agent.core.text import clock_time, common_name
from agent.crypto import x509
from agent.doctor import probes
from agent.errors import AgentError, ConfigError, MaterialError, RefusedError, StoreError
from agent.operations import snapshot
from agent.operations.owners_eyes import not_for_this_user
from agent.operations.parameters import Parameters
from agent.operations.wiring import check_enrolment, load_anchors
from agent.store.files import disk
from agent.system import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from agent.config.values import Config, WatchConfig
    from agent.core.failure.failure import Failure
    from agent.core.values import CertificateFacts

OLD_VERSIONS = (TLSVersion.TLSv1, TLSVersion.TLSv1_1)


def wrong_type(state_dir: Path) -> Line | None:
    """Return the line about something else in the place of the state directory; None where there is nothing wrong."""
    try:
        with disk.directory(str(state_dir)):
            return None
    except StoreError as error:
        if not isinstance(error.__cause__, NotADirectoryError):
            return None  # it is missing, or this user may not look
        real = Path(os.path.realpath(state_dir))
        remedy = f"Set `state_dir: {real}`." if files.is_directory(real) else error.hint
        return failure("disk", "not-a-directory", str(error), remedy, Exit.CRITICAL)


def not_enrolled(config: Config) -> Line:
    """Return what keeps a gateway without a certificate from enrolling, or that nothing does."""
    try:
        load_anchors(config)
    except MaterialError:
        return skipped("set", "there is no certificate yet, and the trust anchors come first")
    try:
        ready = check_enrolment(config)
        Parameters(config).enrolment()
    except RefusedError as error:
        return failure("set", "not-enrolled", "This gateway has no certificate yet. " + str(error), error.hint,
                       Exit.CRITICAL)  # fmt: skip
    except AgentError as error:
        if not_for_this_user(config, error):
            text = f"{UNENROLLED}. Whether it can enrol this user may not see: {error}."
            return failure("set", "not-enrolled", text, "Run it with sudo.", Exit.CRITICAL)
        buys = config.enrollment is not None and config.enrollment.token is not None
        hint = error.hint_or("Put the claim certificate and its key in place.")
        return failure("set", "token-unusable" if buys else "claim-unusable", f"{error}.", hint, Exit.CRITICAL)
    text, remedy = f"{UNENROLLED}; {ready} is ready.", "Run `iot-cert enroll`, or start the daemon."
    return failure("set", "not-enrolled", text, remedy, Exit.CRITICAL)


def way_back(config: Config) -> str:
    """Return what brings a gateway back whose certificate has expired."""
    asked = asked_of(config)
    return readmission.way_back(asked.serial, enrols=asked.enrols, token_at=asked.token_at)


def file_system(path: Path) -> tuple[str, str]:
    """Return where the file system that a path lies on is mounted, and its type; nothing where that is unknown."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "", ""
    real, best = Path(os.path.realpath(path)), ("", "")
    for line in lines:
        _, where, kind, *_ = line.split(" ")
        where = where.replace("\\040", " ")
        if real.is_relative_to(where) and len(where) >= len(best[0]):
            best = (where, kind)
    return best


def of_watched(config: Config, item: WatchConfig, now: datetime | None) -> Line | None:
    """Return the line about a watched file, or None where there is nothing to be said of it.

    Args:
        config: The configuration.
        item: The file.
        now: The present time; None where the clock is not believed.
    """
    try:
        found = tuple(readable(item.path))
    except (MaterialError, ConfigError) as error:
        denied = not_for_this_user(config, error)
        if denied:
            return skipped("watched", denied)
    else:
        for facts in found:
            if now is not None and facts.not_after - now < item.warn:
                text = f"{common_name(facts.subject)} in {item.path} ends at {clock_time(facts.not_after)}."
                return warning("watched", "watched-expiring", text, "Ask the owner of that file to replace it.")
    problem = snapshot.watched(config, item).problem
    return warning("watched", "watched-unusable", f"{problem}.", "Check the path under `watch:`.") if problem else None


def readable(path: Path) -> Iterator[CertificateFacts]:
    """Return what the certificates of a file say that can be read.

    Raises:
        MaterialError: The file is none of certificates.
        ConfigError: It cannot be read.
    """
    for entry in x509.read_store(read_bounded(path, x509.MAX_STORE, "watched file")):
        if entry.facts is not None:
            yield entry.facts


def facts_of(chain: Iterable[bytes]) -> Iterator[CertificateFacts]:
    """Return what the certificates of a chain say, up to the first that cannot be read."""
    for der in chain:
        try:
            yield x509.read_certificate(der)[0]
        except MaterialError:
            return  # what follows an unreadable one cannot be placed


def names_of(chain: tuple[bytes, ...]) -> tuple[str, ...]:
    """Return the names that a server's certificate is for, as far as it can be read."""
    try:
        return x509.server_names(chain[0]) if chain else ()
    except MaterialError:
        return ()


def versions_of(config: Config, look: probes.ServerLook, refusal: Failure | None) -> Iterator[str]:
    """Return the TLS versions that the server takes, as far as that tells anything."""
    if not look.version:
        if refusal is None or refusal.code != Code.TLS_VERSION:
            return
        for version in OLD_VERSIONS:
            if probes.look(config.target, version, version).version:
                yield version.name.replace("_", ".")
        return
    if refusal is not None and refusal.kind is FailureClass.NETWORK:
        return
    if probes.look(config.target, maximum=TLSVersion.TLSv1_2).version:
        yield "TLSv1.2"
    if look.version == "TLSv1.3":
        yield "TLSv1.3"
