"""What serves dependants on a gateway, without the gateway: a set in use, systemd's command, and a TLS server.

The stand-in for `systemctl` is a program of its own, for the shell: it is started hundreds of times, and Python takes
longer to start. It keeps each unit in a file, writes down how it is called, and does what the test tells it to.
"""

from __future__ import annotations

import os
import pwd
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from agent.core.values import Kind, Manifest, Origin
from agent.crypto import keys, x509
from agent.dependants.units import Systemd
from agent.sandbox.account.authority import Authority, key_to_pem, name
from agent.store.store import Store
from support.network.servers import server

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

NOW = datetime.now(UTC)
THING = "gw-0042"
ME = pwd.getpwuid(os.geteuid()).pw_name

_DEFAULTS = {
    "LoadState": "loaded", "ActiveState": "active", "MainPID": "100", "NRestarts": "0", "InvocationID": "1",
    "CanReload": "yes", "ConditionResult": "yes", "ConditionTimestampMonotonic": "1",
}  # fmt: skip

# A unit's file has, besides systemd's properties, what the test wants to happen at an order: `exit` with a code,
# `hang`, `run` a command of the shell, `stale` to keep the process, and `later`: what is so at the first look after it,
# at the second, and so on.
_PROGRAM = """\
#!/bin/sh -f
here=${0%/*} verb= wanted= keys= up= IFS='\x1f'
printf '%s\\n' "$*" >>"$here/calls"
cat /proc/$$/environ >>"$here/environment"
for name; do
    case $name in
        --property=*) wanted=${name#*=} ;;
        -*) ;;
        *) verb=${verb:-$name} ;;
    esac
done
path=$here/$name.unit IFS=,

put() {
    case ,$keys, in *,$1,*) ;; *) keys=$keys${keys:+,}$1 ;; esac
    eval "unit_$1=\\$2"
}

write() {
    for key in $keys; do
        eval "value=\\${unit_$key-} held=\\${unit_$key+yes}"
        [ -z "$held" ] || printf '%s=%s\\n' "$key" "$value"
    done >"$path.new"
    mv "$path.new" "$path"
}

start() {
    put ActiveState active
    [ "${unit_stale+yes}" ] || { put MainPID $((unit_MainPID + 1)); put InvocationID "${unit_InvocationID}1"; }
}

if [ -e "$path" ]; then
    while IFS= read -r line; do put "${line%%=*}" "${line#*=}"; done <"$path"
else
    put LoadState not-found
    put ActiveState inactive
fi

if [ "$verb" = show ]; then
    [ ! -e "$here/mute" ] || exec sleep 600
    [ ! -e "$here/broken" ] || exit 1
    if [ "${unit_coming+yes}" ]; then
        now=${unit_coming%%;*} rest=${unit_coming#"${unit_coming%%;*}"} rest=${rest#;}
        unset unit_coming
        [ -z "$rest" ] || put coming "$rest"
        for item in $now; do put "${item%%:*}" "${item#*:}"; done
        write
    fi
    for key in $wanted; do
        eval "printf '%s=%s\\n' $key \\"\\${unit_$key-}\\""
    done
    exit 0
fi

[ ! "${unit_hang+yes}" ] || exec sleep 600
if [ "${unit_exit+yes}" ]; then
    echo "Job for $name failed." >&2
    exit "$unit_exit"
fi
[ "$unit_ActiveState" != active ] || up=yes
case $verb${up:+-up}-$unit_CanReload in
    reload-yes | reload-up-yes | try-reload-or-restart-up-yes) ;;
    reload-*) exit 1 ;;
    restart-* | try-restart-up-* | try-reload-or-restart-up-*) start ;;
esac
[ ! "${unit_run+yes}" ] || sh -c "$unit_run" || exit 1
[ ! "${unit_later+yes}" ] || put coming "$unit_later"
write
"""


class Systemctl:
    """The stand-in, and the units that it knows."""

    def __init__(self, place: Path) -> None:
        self._place = place / "systemctl.d"
        self._place.mkdir()
        self.path = str(self._place / "systemctl")
        self.systemd = Systemd(self.path, str(self._place))
        (self._place / "systemctl").write_text(_PROGRAM, encoding="ascii")
        (self._place / "systemctl").chmod(0o755)

    def has(self, unit: str, **values: str) -> None:
        """Have it know a unit, which is up unless it is said otherwise; or know it otherwise from now on."""
        lines = {**_DEFAULTS, **self.now(unit), **values}
        (self._place / f"{unit}.unit").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))

    def forget(self, unit: str, *names: str) -> None:
        """Let something that was wanted not happen any more."""
        lines = {key: value for key, value in self.now(unit).items() if key not in names}
        (self._place / f"{unit}.unit").write_text("".join(f"{key}={value}\n" for key, value in lines.items()))

    def now(self, unit: str) -> dict[str, str]:
        """Return how a unit is; empty for one that it does not know."""
        try:
            lines = (self._place / f"{unit}.unit").read_text().splitlines()
        except FileNotFoundError:
            return {}
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def be(self, how: str) -> None:
        """Be ``mute``, which is to hang when it is asked how a unit is, or ``broken``, which is to fail."""
        (self._place / how).touch()

    @property
    def calls(self) -> list[list[str]]:
        """How it was called, each time."""
        log = self._place / "calls"
        return [line.split("\x1f") for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def told(self) -> set[str]:
        """The names in its environment, whenever it was called."""
        return {item.partition("=")[0] for item in (self._place / "environment").read_text().split("\0") if item}

    @property
    def orders(self) -> list[tuple[str, str]]:
        """What it was to do: verbs and units."""
        return [
            (next(item for item in call if not item.startswith("-")), call[-1])
            for call in self.calls
            if "show" not in call
        ]


# -- a set in use ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Laid:
    """One generation, as it was laid down.

    Attributes:
        number: Its number.
        key_pem: The key.
        leaf_pem: The gateway's own certificate.
        chain_pem: That and the intermediate's.
        trust_pem: The anchors.
        certificate_id: SHA-256 of the leaf.
    """

    number: int
    key_pem: bytes
    leaf_pem: bytes
    chain_pem: bytes
    trust_pem: bytes
    certificate_id: str


@cache
def authorities() -> tuple[Authority, Authority]:
    """Return a root and an intermediate below it."""
    root = Authority("Root of dependants", NOW)
    return root, root.intermediate("Intermediate of dependants", NOW)


def lay(state: Path, number: int, *, like: Laid | None = None, trust: bytes | None = None) -> Laid:
    """Put a set in use.

    Args:
        state: The state directory, which is made.
        number: Its generation.
        like: A set whose key and certificate it has.
        trust: Its anchors; the root and another one if not given.
    """
    root, below = authorities()
    if like is None:
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = below.issue_client(name(THING), key.public_key(), NOW - timedelta(days=1), NOW + timedelta(days=365))
        key_pem, leaf_pem = key_to_pem(key), leaf.public_bytes(Encoding.PEM)
    else:
        key_pem, leaf_pem = like.key_pem, like.leaf_pem
    content = keys.credential_set(key_pem, leaf_pem + below.pem)
    bundle = x509.read_bundle(root.pem + below.pem if trust is None else trust)
    manifest = Manifest(
        number=number,
        kind=Kind.ROTATE,
        change=f"c-{number}",
        origin=Origin.SCHEDULE,
        thing_name=THING,
        certificate_id=content.leaf.sha256,
        not_before=content.leaf.not_before,
        not_after=content.leaf.not_after,
        created_at=NOW,
        files={},
    )
    state.mkdir(mode=0o700, exist_ok=True)
    with Store(state) as store:
        store.lock()
        store.prepare(manifest, content, bundle)
        store.activate(number)
    return Laid(
        number=number,
        key_pem=content.key_pem,
        leaf_pem=leaf_pem,
        chain_pem=content.certificate_pem,
        trust_pem=bundle.pem,
        certificate_id=content.leaf.sha256,
    )


def go_back(state: Path, number: int) -> None:
    """Put a set in use that is there."""
    with Store(state) as store:
        store.lock()
        store.activate(number)


def give(path: Path, uid: int) -> None:
    """Give everything at a path to a user and to the group of the same number."""
    for item in [path, *path.rglob("*")]:
        os.chown(item, uid, uid, follow_symlinks=False)


@contextmanager
def open_place() -> Iterator[Path]:
    """Have a directory where every user may look, and a umask that lets them."""
    before = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Path(folder)
    finally:
        os.umask(before)


# -- a server ----------------------------------------------------------------------------------------------------------


@contextmanager
def tls_server(pair: Path, *, ask: bool = False) -> Iterator[str]:
    """Serve TLS on loopback with the key and certificate that are in a file at each connection; give the address.

    Args:
        pair: The file.
        ask: Whether clients must have a certificate.
    """

    def talk(connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        context.verify_mode = ssl.CERT_REQUIRED if ask else ssl.CERT_NONE
        with context.wrap_socket(connection, server_side=True) as channel:
            channel.recv(1)

    with server(talk) as port:
        yield f"127.0.0.1:{port}"
