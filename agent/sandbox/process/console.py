"""The console of a sandbox: it carries out on the cloud what a person orders."""

from __future__ import annotations

import json
import re
import ssl
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from agent.backend.errors import BackendError
from agent.backend.values import Status
from agent.sandbox.account.authority import Authority
from agent.sandbox.process.folder import FIRST_ROOT, write_root
from agent.sandbox.process.orders import CHECKS, HELP, JOBS, OrderError, json_object, parse, refused, rest_of
from agent.sandbox.replies.faults import Effect, Fault, Operation

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from agent.sandbox.network.sessions import ClientSession
    from agent.sandbox.service import LocalCloud

__all__ = ["Console", "OrderError"]

_SHADOW = "certificate"
_ROOT_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")  # it becomes the name of a file


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

    def obey(self, text: str) -> str:
        """Carry out one order and return what to print.

        Raises:
            OrderError: There is no such order, or its arguments are wrong.
        """
        given = parse(text)
        orders: dict[str, Callable[[Namespace], str]] = {
            "fault": self._fault,
            "clear": self._clear,
            "down": self._down,
            "up": self._up,
            "revoke": self._revoke,
            "deactivate": lambda given: self._set_status(given, Status.INACTIVE),
            "activate": lambda given: self._set_status(given, Status.ACTIVE),
            "arm": self._arm,
            "readmit": self._readmit,
            "grant": self._grant,
            "audit": self._audit,
            "sweep": self._sweep,
            "server": self._server,
            "root new": self._new_root,
            "root use": self._use_root,
            "tls": self._tls,
            "lifetime": self._lifetime,
            "policy-delay": self._policy_delay,
            "job": self._job,
            "job raw": self._raw_job,
            "jobs": self._jobs,
            "cancel": self._cancel,
            "desire": self._desire,
            "shadow": self._shadow,
            "sessions": self._sessions,
            "certificates": self._certificates,
            "requests": self._requests,
            "live": self._live,
            "help": lambda _: HELP,
        }
        try:
            with self._turn:
                return orders[given.order](given).rstrip("\n")
        except (ValueError, KeyError, RecursionError, OverflowError, BackendError) as error:
            raise refused(text, error) from None

    def _fault(self, given: Namespace) -> str:
        fault = Fault(operation=Operation(given.operation), effect=Effect(given.effect), times=given.times)
        self._cloud.faults.add(fault)
        return (
            f"{fault.operation} will {fault.effect}, {'until `clear`' if fault.times is None else f'{given.times} x'}"
        )

    def _clear(self, _given: Namespace) -> str:
        self._cloud.faults.clear()
        self._cloud.provisioning.policy_delay = timedelta()
        self._service.set_tls()
        self._service.change_server(self._service.issue_server())
        return "everything works again"

    def _down(self, _given: Namespace) -> str:
        self._service.take_down()
        return "the endpoint is down"

    def _up(self, _given: Namespace) -> str:
        self._service.bring_up()
        return "the endpoint is up"

    def _find(self, given: Namespace) -> str:
        wanted: str = given.certificate
        if wanted != "current":
            known = (item.certificate_id for item in self._cloud.entries())
            matches = [item for item in known if item.startswith(wanted)]
            if len(matches) != 1:
                raise ValueError(f"{len(matches)} certificates begin with {wanted}")
            return matches[0]
        active = [item for item in self._cloud.entries() if item.thing_name and item.status is Status.ACTIVE]
        if not active:
            raise ValueError("no gateway has a certificate yet")
        return active[-1].certificate_id

    def _thing(self) -> str:
        things = [item.thing_name for item in self._cloud.entries() if item.thing_name]
        if not things:
            raise ValueError("no gateway has enrolled yet")
        return things[-1]

    def _revoke(self, given: Namespace) -> str:
        certificate_id = self._find(given)
        self._service.revoke(certificate_id)
        return f"{certificate_id[:12]} is revoked"

    def _set_status(self, given: Namespace, status: Status) -> str:
        certificate_id = self._find(given)
        self._cloud.set_status(certificate_id, status)
        self._service.disconnect(certificate_id)
        return f"{certificate_id[:12]} is {status}"

    def _arm(self, given: Namespace) -> str:
        return f"{given.serial} enrols with the token {self._cloud.stack.arm(given.serial, given.token)}"

    def _readmit(self, given: Namespace) -> str:
        self._cloud.stack.readmit(given.serial)
        return f"{given.serial} may enrol once more, with its token"

    def _grant(self, given: Namespace) -> str:
        certificate_id = self._find(given)
        self._cloud.stack.grant(certificate_id, given.name)
        return f"{certificate_id[:12]} has the policy {given.name!r}"

    def _audit(self, given: Namespace) -> str:
        return self._cloud.stack.audit(self._find(given), CHECKS[given.check])

    def _sweep(self, given: Namespace) -> str:
        return "\n".join(self._cloud.stack.sweep(timedelta(days=given.days))) or "nothing is to be deleted yet"

    def _server(self, given: Namespace) -> str:
        now, host, authority = self._now(), self._service.host, self._service.issuer
        day = timedelta(days=1)
        match given.certificate:
            case "good":
                pair = self._service.issue_server()
            case "expired":
                pair = authority.issue_server(host, now - 30 * day, now - day)
            case "wrong-host":
                pair = authority.issue_server("another.example", now - day, now + 30 * day)
            case _:
                pair = Authority("Sandbox endpoint root X", now).issue_server(host, now - day, now + 30 * day)
        self._service.change_server(pair)
        return f"new connections meet the certificate {given.certificate!r}"

    def _new_root(self, given: Namespace) -> str:
        name, organisation = given.name, rest_of(given.text, 1) or None
        if given.text and (organisation is None or given.text.split()[0] != "organisation"):
            raise ValueError("`organisation` and its name are expected after the name of the root, or nothing")
        if not _ROOT_NAME.fullmatch(name):
            raise ValueError("the name of a root has up to 32 small letters, digits and hyphens")
        if name in self.roots:
            raise ValueError(f"there is a root {name!r} already")
        if self._directory is None:
            raise ValueError("this sandbox has no folder to write roots to")
        root = Authority(f"Sandbox endpoint root {name}", self._now(), organisation=organisation)
        try:
            path = write_root(self._directory, name, root.pem)
        except OSError as error:
            raise ValueError(f"{name}.pem cannot be written: {error.strerror}") from error
        self.roots[name] = root
        return f"the root {name!r} is in {path}"

    def _use_root(self, given: Namespace) -> str:
        name = given.name
        if name not in self.roots:
            raise ValueError(f"there is no root {name!r}, only {', '.join(self.roots)}")
        self._service.use_root(self.roots[name], intermediate=bool(given.intermediate))
        return f"new connections meet a certificate of the root {name!r}"

    def _tls(self, given: Namespace) -> str:
        versions = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
        if given.version == "any":
            self._service.set_tls()
        else:
            self._service.set_tls(minimum=versions[given.version], maximum=versions[given.version])
        return f"the endpoint speaks TLS {given.version}"

    def _lifetime(self, given: Namespace) -> str:
        self._cloud.provisioning.lifetime = timedelta(seconds=given.seconds) if given.seconds else None
        return f"new certificates live {given.seconds} s" if given.seconds else "new certificates live until 2049"

    def _policy_delay(self, given: Namespace) -> str:
        self._cloud.provisioning.policy_delay = timedelta(seconds=given.seconds)
        return f"policies of new certificates take {given.seconds} s to spread"

    def _job(self, given: Namespace) -> str:
        thing_name = self._thing()
        document = {"operation": JOBS[given.kind], **json_object(given.text or "{}")}
        return f"{thing_name} has the job {self._cloud.create_job(thing_name, document)}"

    def _raw_job(self, given: Namespace) -> str:
        thing_name = self._thing()
        if not given.text:
            raise ValueError("the document is missing")
        return f"{thing_name} has the job {self._cloud.create_job(thing_name, given.text.encode())}"

    def _jobs(self, _given: Namespace) -> str:
        lines = [
            f"{job.job_id}  execution {job.number}  {job.status:<11}  {json.dumps(dict(job.status_details))}"
            for job in self._cloud.jobs(self._thing())
        ]
        return "\n".join(lines)

    def _cancel(self, given: Namespace) -> str:
        self._cloud.end_job(self._thing(), given.job)
        return f"{given.job} is canceled"

    def _desire(self, given: Namespace) -> str:
        thing_name = self._thing()
        self._cloud.desire(thing_name, _SHADOW, json_object(given.text))
        return f"the shadow {_SHADOW!r} of {thing_name} desires it"

    def _shadow(self, _given: Namespace) -> str:
        thing_name = self._thing()
        document = self._cloud.shadow(thing_name, _SHADOW)
        if document is None:
            return f"{thing_name} has no shadow {_SHADOW!r} yet"
        return json.dumps(document, indent=2)

    def _sessions(self, _given: Namespace) -> str:
        sessions = list(self._service.front.log.sessions)
        lines = [
            f"{session.began - sessions[0].began:8.1f} s  {_duration(session):>10}  {session.client_id:<32} "
            f"{session.certificate_id[:12]}  {session.end or 'live'}"
            for session in sessions
        ]
        for client_id in dict.fromkeys(session.client_id for session in sessions):
            longest = max(self._service.front.log.gaps(client_id), default=0.0)
            lines.append(f"{client_id} was not connected for {longest:.1f} s at the longest")
        return "\n".join(lines)

    def _certificates(self, _given: Namespace) -> str:
        return "\n".join(
            f"{entry.certificate_id[:12]}  {entry.status:<18} {entry.thing_name or '-':<10} {' '.join(entry.policies)}"
            for entry in self._cloud.entries()
        )

    def _requests(self, _given: Namespace) -> str:
        lines = [
            f"{request.at:%H:%M:%S}  {request.principal[:12]}  {request.client_id:<32} "
            f"{request.operation:<10} {request.outcome}"
            for request in self._cloud.requests
        ]
        return "\n".join(lines)

    def _live(self, _given: Namespace) -> str:
        return "\n".join(
            f"{item.client_id}  {item.certificate_id[:12]}  {item.tls_version}" for item in self._service.front.live
        )


def _duration(session: ClientSession) -> str:
    return "..." if session.ended is None else f"{session.ended - session.began:.1f} s"
