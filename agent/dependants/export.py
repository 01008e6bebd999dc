"""What is given away of the set in use: read and rendered by the owner of the state directory, never by root.

The helper that serves dependants runs as root, and the state directory belongs to a user who is not. A link planted
there would have root read any file, and a file written there would have root parse anything. So a child gives up root's
privileges for good, reads and checks the generation as the agent itself does, renders each copy, and hands bytes over a
pipe. The parent takes them as they are.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import signal
from contextlib import suppress
from dataclasses import field
from typing import TYPE_CHECKING, Annotated

from agent.core.dependants import Content, Format
from agent.core.frozen import frozen
from agent.core.jsonio import decode, encode
from agent.core.text import common_name
from agent.core.text_files import EmptyError, NoTextError, password_of
from agent.core.values import THING, Id, Name
from agent.errors import AgentError, MaterialError, RefusedError, StoreError
from agent.store.files.disk import explained
from agent.system import children
from agent.system.clock import monotonic
from agent.system.processes import forks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.dependants import Copy
    from agent.core.values import Generation
    from agent.store.store import Store

_HASH = re.compile(r"[0-9a-f]{64}")
MAX_EXTRACT = 8 * 1024 * 1024  # bytes of everything together
_FIRST_FD = 3  # after the three that every process has
PATIENCE = 60.0  # seconds for the child, which the owner of the state directory may stop


@frozen
class Extract:
    """What dependants are given.

    Attributes:
        generation: The generation in use.
        thing_name: The thing's name.
        certificate_id: SHA-256 of the certificate's DER, which a TLS server must show.
        set: Tells two sets apart: certificate, chain and anchors.
        about: What else hooks are told: names of the environment without their prefix, and values.
        copies: The content of each copy, in the order they were asked for.
        problems: Why one of them could not be made, by its place.
    """

    generation: int
    thing_name: str
    certificate_id: str
    set: str
    about: Mapping[str, str] = field(default_factory=dict)
    copies: tuple[bytes, ...] = field(default=(), repr=False)
    problems: Mapping[int, str] = field(default_factory=dict)


def extract(state_dir: Path, copies: Sequence[Copy], passwords: Mapping[Path, bytes]) -> Extract:
    """Return what dependants are given of the set in use.

    Args:
        state_dir: The state directory.
        copies: What is to be copied.
        passwords: The content of the password files, by their path.

    Raises:
        AgentError: There is no whole set.
    """
    with explained(f"look at {state_dir}"):
        owner = state_dir.stat().st_uid
    if os.geteuid() != 0 or owner == 0:
        return _extract(state_dir, copies, passwords)
    return _as_owner(state_dir, copies, passwords)


def _extract(state_dir: Path, copies: Sequence[Copy], passwords: Mapping[Path, bytes]) -> Extract:
    from agent.store.store import Store  # noqa: PLC0415 - the parent of a child needs none of it

    with Store(state_dir) as store:
        number = store.current()
        if number is None:
            raise RefusedError("This gateway has no certificate yet, so there is nothing to serve.")
        generation = store.generation(number)
        about = _about(store, generation)
    contents, problems = _rendered(generation, copies, passwords)
    digest = hashlib.sha256(generation.credential.certificate_pem + generation.trust.pem)
    return Extract(
        generation=number,
        thing_name=generation.manifest.thing_name,
        certificate_id=generation.credential.leaf.sha256,
        set=digest.hexdigest(),
        about=about,
        copies=contents,
        problems=problems,
    )


def _about(store: Store, generation: Generation) -> dict[str, str]:
    """Return what hooks are told of the change that made a generation, as far as it is known; nothing is secret."""
    manifest, previous, change, pending = generation.manifest, None, None, None
    with suppress(StoreError):  # a damaged record or link keeps no program from the set
        previous = store.previous()
        pending = store.change()
        known = (pending, *reversed(store.history()))
        change = next((record for record in known if record is not None and record.id == manifest.change), None)
    told = {f"PENDING_{name}": value for name, value in _pending(pending).items()}
    return {
        **told,
        "KIND": manifest.kind.value,
        "CHANGE": manifest.change,
        "REASON": change.reason if change else "",
        "SERIAL": generation.credential.leaf.serial,
        "EXPIRES": f"{manifest.not_after:%Y-%m-%dT%H:%M:%SZ}",
        "PREVIOUS_GENERATION": "" if previous is None else str(previous),
    }


def _pending(change: ChangeRecord | None) -> dict[str, str]:
    """Return what gates are told of the change that asks."""
    return {"KIND": change.kind.value, "CHANGE": change.id, "REASON": change.reason} if change else {}


ABOUT = ("KIND", "CHANGE", "REASON", "SERIAL", "EXPIRES", "PREVIOUS_GENERATION")


def _rendered(
    generation: Generation, copies: Sequence[Copy], passwords: Mapping[Path, bytes]
) -> tuple[tuple[bytes, ...], Mapping[int, str]]:
    """Return what each copy holds, made once for those alike, and why one cannot be made, by its place."""
    made: dict[tuple[Content, Format, Path | None], bytes] = {}
    contents, problems = [], {}
    for place, copy in enumerate(copies):
        alike = copy.content, copy.format, copy.password_file
        try:
            if alike not in made:
                made[alike] = render(generation, copy, passwords)
            contents.append(made[alike])
        except MaterialError as error:
            contents.append(b"")
            problems[place] = str(error)
    return tuple(contents), problems


def render(generation: Generation, copy: Copy, passwords: Mapping[Path, bytes]) -> bytes:
    """Return what a copy holds.

    Raises:
        MaterialError: It cannot be made, as a PKCS #12 file without a password.
    """
    from agent.crypto import x509  # noqa: PLC0415

    credential = generation.credential
    leaf = x509.split(credential.certificate_pem)[0]
    if copy.format is Format.PKCS12:
        return _pkcs12(generation, copy, passwords)
    if copy.format.is_directory:
        return _listed(generation, copy)
    match copy.content:
        case Content.KEY:
            return _der(credential.key_pem) if copy.format is Format.DER else credential.key_pem
        case Content.CERTIFICATE:
            return _der(leaf) if copy.format is Format.DER else leaf
        case Content.CHAIN:
            return credential.certificate_pem
        case Content.PAIR:
            return credential.key_pem.rstrip(b"\n") + b"\n" + credential.certificate_pem
        case Content.ANCHORS:
            return generation.trust.pem


def _listed(generation: Generation, copy: Copy) -> bytes:
    """Return the anchors with the names of their files, as `agent.dependants.anchor_directories` takes them."""
    from agent.crypto import x509  # noqa: PLC0415
    from agent.crypto.subject_hash import subject_hash  # noqa: PLC0415

    found: dict[str, str] = {}
    for facts, pem in zip(generation.trust.anchors, x509.split(generation.trust.pem), strict=True):
        start, number = subject_hash(pem), 0
        while (name := f"{start}.{number}") in found:
            number += 1
        if copy.format is Format.SYSTEM:
            plain = re.sub(r"[^A-Za-z0-9]+", "-", common_name(facts.subject)).strip("-")
            name = f"{plain[:80]}-{facts.sha256[:16]}.crt"
        found[name] = pem.decode() + "\n"
    return encode(found)


def _der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(line for line in pem.splitlines() if not line.startswith(b"-----")))


def _pkcs12(generation: Generation, copy: Copy, passwords: Mapping[Path, bytes]) -> bytes:
    from agent.crypto import pkcs12  # noqa: PLC0415

    data = passwords.get(copy.password_file, b"") if copy.password_file else b""
    try:
        password = password_of(data).encode()
    except EmptyError:
        message = f"{copy.password_file} must hold a password in its first line, and be readable for its owner alone"
        raise MaterialError(f"{message} (mode 0600).") from None
    except NoTextError:  # which would keep every other copy away
        raise MaterialError(f"The password in {copy.password_file} must be UTF-8 text.") from None
    if copy.content is Content.ANCHORS:
        return pkcs12.trust_store(generation.trust.pem, password)
    pair, name = generation.credential, generation.manifest.thing_name
    return pkcs12.key_store(name, pair.key_pem, pair.certificate_pem, password)


@frozen
class _Told:
    """An extract as it goes over the pipe: the places as texts, and in base64 what the copies hold, each content once.

    Sixty copies of a large set of anchors would be more than is taken.
    """

    generation: int
    thing_name: Name
    certificate_id: Id
    set: Id
    about: Mapping[str, str] = field(default_factory=dict)
    contents: tuple[Annotated[str, MAX_EXTRACT], ...] = field(default=(), repr=False)
    copies: tuple[int, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)


# -- the child ---------------------------------------------------------------------------------------------------------


def _as_owner(state_dir: Path, copies: Sequence[Copy], passwords: Mapping[Path, bytes]) -> Extract:
    with explained("start a process as the owner of the state directory"):
        child, read_end = forks.fork(lambda pipe: _child(pipe, state_dir, copies, passwords))
    try:
        data = _read(read_end)
    finally:
        os.close(read_end)
        os.kill(child, signal.SIGKILL)  # it is done, has said too much, or was stopped
        os.waitpid(child, 0)
    return _received(data, len(copies))


def _read(pipe: int) -> bytes:
    try:
        return children.read_all(pipe, monotonic() + PATIENCE, MAX_EXTRACT + 1)  # one more says that it is too much
    except TimeoutError:
        raise MaterialError("The set in use could not be read in time.") from None


def _child(pipe: int, state_dir: Path, copies: Sequence[Copy], passwords: Mapping[Path, bytes]) -> None:
    from agent.store.files.ownership import become_owner, keep_memory_private  # noqa: PLC0415

    # Nothing stays open, the lock above all: a user who stops this process would hold it beyond its parent's end.
    os.closerange(_FIRST_FD, pipe)
    os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
    try:
        become_owner(state_dir)
        keep_memory_private()
        found = _extract(state_dir, copies, passwords)
        contents = {data: place for place, data in enumerate(dict.fromkeys(found.copies))}
        answer: object = _Told(
            generation=found.generation,
            thing_name=found.thing_name,
            certificate_id=found.certificate_id,
            set=found.set,
            about=found.about,
            contents=tuple(base64.b64encode(data).decode() for data in contents),
            copies=tuple(contents[data] for data in found.copies),
            problems={str(place): text for place, text in found.problems.items()},
        )
    except AgentError as error:
        answer = {"error": str(error), "hint": error.hint}
    except Exception as error:  # noqa: BLE001 - its text may hold anything
        answer = {"error": f"The set could not be read ({type(error).__name__})."}
    with os.fdopen(pipe, "wb") as file:
        file.write(encode(answer))


def _received(data: bytes, copies: int) -> Extract:
    """Take the child's answer; it is as little trusted as the user it ran as."""
    found = _understood(data)
    named = THING.fullmatch(found.thing_name) and _HASH.fullmatch(found.certificate_id) and _HASH.fullmatch(found.set)
    if not named:  # hooks are told these
        raise MaterialError("The set in use could not be read: its names are none.")
    if len(found.copies) != copies or not set(found.problems) <= set(range(copies)):
        raise MaterialError("The set in use could not be read: a copy is missing.")
    return found


def _understood(data: bytes) -> Extract:
    try:
        node = decode(data, "the set in use", limit=MAX_EXTRACT)
        if node.has("error"):
            raise MaterialError(node.text("error", limit=4096), hint=node.optional_text("hint") or "")
        told = node.record(_Told)
        contents = [base64.b64decode(content, validate=True) for content in told.contents]
        return Extract(
            generation=told.generation,
            thing_name=told.thing_name,
            certificate_id=told.certificate_id,
            set=told.set,
            about=told.about,
            copies=tuple(contents[place] for place in told.copies),
            problems={int(place): text for place, text in told.problems.items()},
        )
    except (ValueError, IndexError) as error:
        raise MaterialError(f"The set in use could not be read ({str(error)[:200] or type(error).__name__}).") from None
