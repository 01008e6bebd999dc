"""The sandbox for people: one folder with everything an agent needs, and orders to the cloud while it runs.

::

    DIR/config.yaml      ready for the agent
    DIR/claim/           the claim certificate and key, as a factory would put them there
    DIR/roots.pem        the anchor of the endpoint
    DIR/roots/NAME.pem   each root that the endpoint may move to; the first one is called a
    DIR/state/           where the agent will keep its generations
    DIR/control.sock     takes orders, one a connection
    DIR/cloud/           the broker's own files

Everything the cloud knows is in memory: it is gone when the sandbox stops. Whoever may open the folder may give orders.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError
from agent.sandbox.authority import Authority
from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.faults import Effect, Fault, Operation
from agent.sandbox.service import LocalCloud

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.sandbox.sessions import Session

MAX_ORDER = 4096  # bytes
_TIMEOUT = 30.0

SERIAL = "0042"

HELP = """\
fault OPERATION EFFECT [TIMES|always]   make something go wrong, once if not said otherwise
      OPERATION  {operations}
      EFFECT     {effects}
clear                     let everything work again; a root that was moved to stays
down | up                 stop listening, listen again
revoke ID | current       revoke a certificate and cut its connections
deactivate ID | current   make it inactive; `activate ID` makes it active again
server good | expired | wrong-host | other-root
root new NAME [organisation TEXT]   make another root and write it to DIR/roots/NAME.pem; the first one is called a
root use NAME [intermediate]   move the endpoint to it, with an intermediate below it if said; connections stay
tls any | 1.2 | 1.3       which TLS versions the endpoint speaks
policy-delay SECONDS      how long the policy of a new certificate takes to spread
job rotate | rollback | report [JSON]   give the newest gateway a job, with more fields if wanted
job raw JSON              give it a job with this document, to the byte
jobs                      list its jobs with what it said about them
cancel JOB                cancel one of them
desire JSON               change what its shadow `certificate` desires
shadow                    show the shadow
certificates | requests | live
sessions                  who was connected when, and the longest time in which a client was not
stop
""".format(operations=" ".join(Operation), effects=" ".join(Effect))


_JOBS = {"rotate": "rotate-certificate", "rollback": "rollback", "report": "report"}
_SHADOW = "certificate"
FIRST_ROOT = "a"
_ROOT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")  # it becomes the name of a file


class OrderError(AgentError):
    """An order that cannot be carried out."""


class Console:
    """Carries out orders on a running sandbox, one after the other.

    Attributes:
        roots: What the endpoint may move to, by name.
    """

    def __init__(self, service: LocalCloud, now: Callable[[], datetime], directory: Path | None = None) -> None:
        """Take charge of a sandbox.

        Args:
            service: The sandbox.
            now: The clock.
            directory: Where new roots are written; without it none can be made.
        """
        self.roots = {FIRST_ROOT: service.endpoint_authority}
        self._service = service
        self._cloud = service.cloud
        self._now = now
        self._directory = directory
        self._turn = threading.Lock()

    def obey(self, order: str) -> str:
        """Carry out one order and return what to print.

        Raises:
            OrderError: There is no such order, or its arguments are wrong.
        """
        word, *arguments = order.split() or ["help"]
        orders: dict[str, Callable[[list[str]], str]] = {
            "fault": self._fault,
            "clear": self._clear,
            "down": self._down,
            "up": self._up,
            "revoke": self._revoke,
            "deactivate": lambda given: self._set_status(given, Status.INACTIVE),
            "activate": lambda given: self._set_status(given, Status.ACTIVE),
            "server": self._server,
            "root": lambda given: self._root(given, _after(order, 4)),
            "tls": self._tls,
            "policy-delay": self._policy_delay,
            "job": lambda given: self._job(given, _after(order, 2)),
            "jobs": self._jobs,
            "cancel": self._cancel,
            "desire": lambda _: self._desire(_after(order, 1)),
            "shadow": self._shadow,
            "sessions": self._sessions,
            "certificates": self._certificates,
            "requests": self._requests,
            "live": self._live,
            "help": lambda _: HELP,
        }
        if word not in orders:
            raise OrderError(f"There is no order {word!r}.", hint="`help` lists them.")
        try:
            with self._turn:
                return orders[word](arguments).rstrip("\n")
        except (ValueError, KeyError, IndexError, RecursionError) as error:
            raise OrderError(
                f"The order {order!r} cannot be carried out ({error}).", hint="`help` lists them."
            ) from None

    def _fault(self, given: list[str]) -> str:
        times = given[2] if len(given) > 2 else "1"  # noqa: PLR2004 - the third word
        fault = Fault(
            operation=Operation(given[0]), effect=Effect(given[1]), times=None if times == "always" else int(times)
        )
        self._cloud.faults.add(fault)
        return f"{fault.operation} will {fault.effect}, {'until `clear`' if fault.times is None else f'{times} x'}"

    def _clear(self, _given: list[str]) -> str:
        self._cloud.faults.clear()
        self._cloud.provisioning.policy_delay = timedelta()
        self._service.set_tls()
        self._service.change_server(self._service.issue_server())
        return "everything works again"

    def _down(self, _given: list[str]) -> str:
        self._service.take_down()
        return "the endpoint is down"

    def _up(self, _given: list[str]) -> str:
        self._service.bring_up()
        return "the endpoint is up"

    def _find(self, given: list[str]) -> str:
        if given[0] != "current":
            matches = [item for item in self._cloud.registry if item.startswith(given[0])]
            if len(matches) != 1:
                raise ValueError(f"{len(matches)} certificates begin with {given[0]}")
            return matches[0]
        active = [item for item in self._cloud.registry.values() if item.thing_name and item.status is Status.ACTIVE]
        if not active:
            raise ValueError("no gateway has a certificate yet")
        return active[-1].certificate_id

    def _thing(self) -> str:
        things = [item.thing_name for item in self._cloud.registry.values() if item.thing_name]
        if not things:
            raise ValueError("no gateway has enrolled yet")
        return things[-1]

    def _revoke(self, given: list[str]) -> str:
        certificate_id = self._find(given)
        self._service.revoke(certificate_id)
        return f"{certificate_id[:12]} is revoked"

    def _set_status(self, given: list[str], status: Status) -> str:
        certificate_id = self._find(given)
        self._cloud.set_status(certificate_id, status)
        self._service.disconnect(certificate_id)
        return f"{certificate_id[:12]} is {status}"

    def _server(self, given: list[str]) -> str:
        now, host, authority = self._now(), self._service.host, self._service.issuer
        day = timedelta(days=1)
        match given[0]:
            case "good":
                pair = self._service.issue_server()
            case "expired":
                pair = authority.issue_server(host, now - 30 * day, now - day)
            case "wrong-host":
                pair = authority.issue_server("somebody-else.example", now - day, now + 30 * day)
            case "other-root":
                pair = Authority("Sandbox endpoint root X", now).issue_server(host, now - day, now + 30 * day)
            case _:
                raise ValueError(given[0])
        self._service.change_server(pair)
        return f"new connections meet the certificate {given[0]!r}"

    def _root(self, given: list[str], text: str) -> str:
        match given:
            case ["new", name]:
                return self._new_root(name, None)
            case ["new", name, "organisation", _, *_]:
                return self._new_root(name, text)
            case ["use", name, *how] if how in ([], ["intermediate"]):
                return self._use_root(name, intermediate=bool(how))
            case _:
                raise ValueError("nothing of that kind is done with roots")

    def _new_root(self, name: str, organisation: str | None) -> str:
        if not _ROOT_NAME.fullmatch(name):
            raise ValueError("the name of a root has up to 32 small letters, digits and hyphens")
        if name in self.roots:
            raise ValueError(f"there is a root {name!r} already")
        if self._directory is None:
            raise ValueError("this sandbox has no folder to write roots to")
        root = Authority(f"Sandbox endpoint root {name}", self._now(), organisation=organisation)
        try:
            path = _write_root(self._directory, name, root.pem)
        except OSError as error:
            raise ValueError(f"{name}.pem cannot be written: {error.strerror}") from error
        self.roots[name] = root
        return f"the root {name!r} is in {path}"

    def _use_root(self, name: str, *, intermediate: bool) -> str:
        if name not in self.roots:
            raise ValueError(f"there is no root {name!r}, only {', '.join(self.roots)}")
        self._service.use_root(self.roots[name], intermediate=intermediate)
        return f"new connections meet a certificate of the root {name!r}"

    def _tls(self, given: list[str]) -> str:
        versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
        if given[0] == "any":
            self._service.set_tls()
        else:
            self._service.set_tls(minimum=versions[given[0]], maximum=versions[given[0]])
        return f"the endpoint speaks TLS {given[0]}"

    def _policy_delay(self, given: list[str]) -> str:
        self._cloud.provisioning.policy_delay = timedelta(seconds=int(given[0]))
        return f"policies of new certificates take {given[0]} s to spread"

    def _job(self, given: list[str], text: str) -> str:
        thing_name = self._thing()
        if given[0] == "raw":
            job_id = self._cloud.create_job(thing_name, (text or given[1]).encode())
        else:
            job_id = self._cloud.create_job(thing_name, {"operation": _JOBS[given[0]], **_object(text or "{}")})
        return f"{thing_name} has the job {job_id}"

    def _jobs(self, _given: list[str]) -> str:
        lines = [
            f"{job.job_id}  execution {job.number}  {job.status:<11}  {json.dumps(dict(job.status_details))}"
            for job in self._cloud.jobs(self._thing())
        ]
        return "\n".join(lines)

    def _cancel(self, given: list[str]) -> str:
        self._cloud.cancel_job(self._thing(), given[0])
        return f"{given[0]} is canceled"

    def _desire(self, text: str) -> str:
        thing_name = self._thing()
        self._cloud.desire(thing_name, _SHADOW, _object(text))
        return f"the shadow {_SHADOW!r} of {thing_name} desires it"

    def _shadow(self, _given: list[str]) -> str:
        thing_name = self._thing()
        document = self._cloud.shadow(thing_name, _SHADOW)
        if document is None:
            return f"{thing_name} has no shadow {_SHADOW!r} yet"
        return json.dumps(document, indent=2)

    def _sessions(self, _given: list[str]) -> str:
        sessions = list(self._service.front.sessions)
        lines = [
            f"{session.began - sessions[0].began:8.1f} s  {_duration(session):>10}  {session.client_id:<32} "
            f"{session.certificate_id[:12]}  {session.end or 'live'}"
            for session in sessions
        ]
        for client_id in dict.fromkeys(session.client_id for session in sessions):
            longest = max(self._service.gaps(client_id), default=0.0)
            lines.append(f"{client_id} was not connected for {longest:.1f} s at the longest")
        return "\n".join(lines)

    def _certificates(self, _given: list[str]) -> str:
        lines = [
            f"{entry.certificate_id[:12]}  {entry.status:<18} {entry.thing_name or 'claim'}"
            for entry in self._cloud.registry.values()
        ]
        return "\n".join(lines)

    def _requests(self, _given: list[str]) -> str:
        lines = [
            f"{request.at:%H:%M:%S}  {request.principal[:12]}  {request.client_id:<32} "
            f"{request.operation:<10} {request.outcome}"
            for request in self._cloud.requests
        ]
        return "\n".join(lines)

    def _live(self, _given: list[str]) -> str:
        return "\n".join(
            f"{item.client_id}  {item.certificate_id[:12]}  {item.tls_version}" for item in self._service.front.live
        )


def _after(order: str, words: int) -> str:
    """Return an order without its first words, with the rest as it was written."""
    rest = order.split(maxsplit=words)
    return rest[words] if len(rest) > words else ""


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")  # noqa: TRY004 - for the person who gave the order
    return value


def _duration(session: Session) -> str:
    return "..." if session.ended is None else f"{session.ended - session.began:.1f} s"


def write_configuration(directory: Path, service: LocalCloud, *, probation: int) -> Path:
    """Write what an agent needs into `directory` and return the configuration's path.

    Raises:
        AgentError: It cannot be written.
    """
    claim = directory / "claim"
    path = directory / "config.yaml"
    try:
        claim.mkdir(mode=0o700, exist_ok=True)
        _write(claim / "certificate.pem", service.cloud.claim.certificate_pem)
        _write(claim / "key.pem", service.cloud.claim.key_pem)
        _write(directory / "roots.pem", service.root_pem)
        _write_root(directory, FIRST_ROOT, service.root_pem)
        _write(path, _configuration(directory, service, probation).encode())
    except OSError as error:
        raise AgentError(f"{directory} cannot be written: {error.strerror}.") from error
    return path


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - with a mode
        file.write(data)


def _write_root(directory: Path, name: str, pem: bytes) -> Path:
    path = directory / "roots" / f"{name}.pem"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _write(path, pem)
    return path


def _configuration(directory: Path, service: LocalCloud, probation: int) -> str:
    return f"""\
# Written by `iot-cert sandbox` for an agent on this machine; the next start writes it again.
endpoint: {service.host}
port: {service.port}          # with ALPN, as on AWS's port 443: port {service.alpn_port} and `alpn: true`
state_dir: {directory}/state
runtime_dir: {directory}/run
trust:
  anchors: {directory}/roots.pem
vouched_clock: true           # agent and cloud share this machine's clock
timeouts: {{connect: 20s, request: 5s}}
enrollment:
  method: fleet-provisioning
  template: gateway
  parameters: {{SerialNumber: "{SERIAL}"}}
  claim: {{certificate: {directory}/claim/certificate.pem, key: {directory}/claim/key.pem}}
rotation:
  template: gateway-rotation
  probation: {probation}s
  refusal_patience: 3s        # on AWS a minute; here nothing needs time to spread
  daily_limit: 100
"""


class ControlSocket:
    """``control.sock``: each connection brings one order and takes its answer."""

    def __init__(self, directory: Path, console: Console) -> None:
        self._path = directory / "control.sock"
        self._directory = directory
        self._console = console
        self._stop = asyncio.Event()

    async def serve(self, started: Callable[[], None]) -> None:
        """Take orders until `stop` comes or the process is told to end."""
        self._path.unlink(missing_ok=True)
        with _reachable(self._directory) as path:
            server = await asyncio.start_unix_server(self._meet, path, limit=MAX_ORDER)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        started()
        async with server:
            await self._stop.wait()
        self._path.unlink(missing_ok=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, TimeoutError):
            order = (await asyncio.wait_for(reader.readline(), _TIMEOUT)).decode().strip()
            if order == "stop":
                self._stop.set()
                text = "stopped"
            else:
                text = await asyncio.to_thread(self._answer, order)
            writer.write(text.encode() + b"\n")
            await asyncio.wait_for(writer.drain(), _TIMEOUT)
        writer.close()

    def _answer(self, order: str) -> str:
        try:
            return self._console.obey(order)
        except OrderError as error:
            return f"error: {error} {error.hint}"


class _reachable:  # noqa: N801 - used as a function
    """A path to ``control.sock`` short enough for a socket address, however deep the folder is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> str:
        self._fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}/control.sock"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def send(directory: Path, order: str) -> str:
    """Give an order to the sandbox that runs in `directory` and return its answer.

    Raises:
        OrderError: None runs there, or it refuses the order.
    """
    try:
        with _reachable(directory) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(path)
            connection.sendall(order.encode() + b"\n")
            answer = b"".join(iter(lambda: connection.recv(65_536), b"")).decode().rstrip("\n")
    except OSError:
        raise OrderError(
            f"No sandbox runs in {directory}.", hint=f"Start one: `iot-cert sandbox --dir {directory}`."
        ) from None
    if answer.startswith("error: "):
        raise OrderError(answer.removeprefix("error: "))
    return answer


def run(
    directory: Path,
    *,
    name: tuple[str, str],
    lifetime: timedelta | None,
    probation: int,
    started: Callable[[LocalCloud], None],
) -> None:
    """Run a sandbox in `directory` until it is told to stop.

    Args:
        directory: Where to keep its files.
        name: The host name in its certificate, and the address to listen on.
        lifetime: How long certificates live; None for AWS's own, to 2049.
        probation: Seconds, written to the agent's configuration.
        started: Called once clients can connect.

    Raises:
        AgentError: It cannot be started.
    """
    directory = directory.absolute()
    try:
        (directory / "cloud").mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AgentError(f"{directory} cannot be made: {error.strerror}.") from error
    host, address = name
    cloud = Cloud(_now, lifetime=lifetime)
    with LocalCloud(cloud, directory / "cloud", host=host, address=address) as service:
        write_configuration(directory, service, probation=probation)
        control = ControlSocket(directory, Console(service, _now, directory))
        asyncio.run(control.serve(lambda: started(service)))


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the sandbox is a world of its own, and this is its clock
