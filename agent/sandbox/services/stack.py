"""What the operator has deployed into the account: the handlers of `agent.backend`, over the sandbox's registry.

It decides nothing. A template asks the hook here, a gateway's request for a retirement is put as the rule would put it,
and a sweep and an audit are made when a person orders them; the tables are in memory. What an operator does besides is
here as well: tokens, readmissions, and the policies of applications.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from agent.backend.decide.admission import fingerprint
from agent.backend.decide.verdict import is_name
from agent.backend.handlers import audits, hook, retirement, signing, sweep, vending
from agent.backend.handlers.account import Account
from agent.backend.memory import MemoryAuditor, MemoryOutbox, MemoryRegistry, MemoryStore
from agent.backend.names import REASON, SHADOW, signer_event
from agent.backend.settings import StackSettings
from agent.backend.values import AuditFinding, Device, DeviceState, ShadowReport, Signer
from agent.sandbox.account.own_ca import SandboxKeys, make_ca
from agent.sandbox.account.policies import GATEWAY, application_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime

    from agent.backend import memory
    from agent.backend.decide.orders import JobOrder
    from agent.backend.values import Certificate, Check
    from agent.sandbox.account.registry import CertificateRegistry
    from agent.sandbox.services.jobs import JobQueue
    from agent.sandbox.services.shadows import Shadows

    Lock = AbstractContextManager[object]

SETTINGS = StackSettings(own_policies=frozenset({GATEWAY}), daily_limit=100)

_ARN = "arn:aws:iot:eu-west-1:123456789012:provisioningtemplate/"
_HOUR = timedelta(hours=1)


class StackRegistry(MemoryRegistry):
    """The sandbox's registry, as the handlers meet it.

    Attributes:
        documents: What each policy allows, by its name.
    """

    def __init__(
        self,
        entries: CertificateRegistry,
        shadows: Shadows,
        jobs: JobQueue,
        cut: Callable[[str], None],
        issue: Callable[[str], Certificate | None],
    ) -> None:
        """Take what is there.

        Args:
            entries: The certificates.
            shadows: The shadows of all things.
            jobs: Their jobs.
            cut: Ends all connections of a certificate.
            issue: Makes a certificate for a request, INACTIVE; returns None for what is none.
        """
        super().__init__(cast("dict[str, memory.MemoryCertificate]", entries))  # new ones are made by the sandbox alone
        self.documents = entries.documents
        self._shadows = shadows
        self._jobs = jobs
        self._cut = cut
        self._issue = issue

    def make_certificate(self, csr: str, _now: datetime) -> Certificate | None:
        """Make a certificate with which one can connect."""
        return self._issue(csr)

    def deactivate(self, certificate_id: str) -> None:
        """Make a certificate INACTIVE; its connections end, which takes AWS some minutes."""
        super().deactivate(certificate_id)
        self._cut(certificate_id)

    def report(self, thing: str) -> ShadowReport:
        """Return what a shadow reports, as far as a handler here reads it."""
        return ShadowReport.of(self._shadows.document(thing, SHADOW))

    def orders_of(self, thing: str) -> tuple[str, ...]:
        """Return the jobs that a thing has not finished."""
        return tuple(job.job_id for job in self._jobs.pending(thing))

    def order(self, order: JobOrder) -> bool:
        """Make a job, once."""
        new = super().order(order)
        for thing in order.things:
            if all(job.job_id != order.job_id for job in self._jobs.of_thing(thing)):
                self._jobs.create(thing, order.document, order.job_id)
        return new


class Stack:
    """The deployed functions and their tables. `hook` and `retire` are called while the cloud is locked.

    Attributes:
        registry: The registry, as the functions meet it.
        store: The tables.
        outbox: What was told and counted.
    """

    def __init__(
        self, now: Callable[[], datetime], registry: StackRegistry, settings: StackSettings, lock: Lock
    ) -> None:
        """Deploy it into an account.

        Args:
            now: The cloud's clock.
            registry: The registry.
            settings: What the operator chose.
            lock: The cloud's lock.
        """
        self._lock = lock
        self._audits = count(1)
        self.registry = registry
        self.store = MemoryStore()
        self.outbox = MemoryOutbox()
        self._account = Account(
            registry=registry,
            store=self.store,
            outbox=self.outbox,
            now=lambda: now().replace(microsecond=0),
            settings=settings,
        )

    def arm(self, serial: str, token: str = "") -> str:
        """Give a serial number a token that buys one certificate, whatever it had before; return the token.

        Args:
            serial: The serial number, which the thing is named after.
            token: The token; empty for a new one.

        Raises:
            ValueError: There can be no such serial number.
        """
        if not is_name(serial):
            raise ValueError("a serial number has 1 to 128 letters, digits and `:_-`")
        token = token or secrets.token_hex(10)
        with self._lock:
            row = self.store.device(serial) or Device(serial=serial, thing=f"gw-{serial}", state=DeviceState.ARMED)
            self._let_in(replace(row, token_sha256=fingerprint(serial, token)))
        return token

    def readmit(self, serial: str) -> None:
        """Let the token of a serial number buy one more certificate.

        Raises:
            ValueError: It has none.
        """
        with self._lock:
            row = self.store.device(serial)
            if row is None:
                raise ValueError(f"{serial} has no token yet")
            self._let_in(row)

    def _let_in(self, row: Device) -> None:
        self.store.save_device(replace(row, state=DeviceState.ARMED, bought=frozenset(), bought_at=None))

    def grant(self, certificate_id: str, name: str) -> None:
        """Attach the policy of an application to a certificate.

        Raises:
            ChangedError: The certificate is gone, or takes no more.
            ValueError: There can be no such application.
        """
        if not is_name(name):
            raise ValueError("the name of an application has 1 to 128 letters, digits and `:_-`")
        with self._lock:
            self.registry.documents.setdefault(name, application_policy(name))
            self.registry.attach_policy(name, certificate_id)

    def hook(self, caller: str, certificate_id: str, template: str, parameters: Mapping[str, Any]) -> str:
        """Ask the pre-provisioning hook; return the thing that it registers the certificate as, or nothing."""
        event = {
            "claimCertificateId": caller,
            "certificateId": certificate_id,
            "templateArn": _ARN + template,
            "parameters": dict(parameters),
        }
        answer = cast("dict[str, Any]", hook.hook(event, self._account))
        return str(answer["parameterOverrides"]["ThingName"]) if answer["allowProvisioning"] is True else ""

    def retire(self, caller: str, thing: str, payload: bytes) -> tuple[str, Mapping[str, object]] | None:
        """Deliver a request for a retirement as the rule does; return the answer's topic and body, if there is one."""
        try:
            message = json.loads(payload)
        except (ValueError, RecursionError):
            message = None
        retirement.retire({"thing": thing, "principal": caller, "message": message}, self._account)
        return self.outbox.answers.pop() if self.outbox.answers else None

    def vend(self, event: Mapping[str, object]) -> Mapping[str, object]:
        """Answer a client of the HTTP API, by an event of API Gateway's."""
        with self._lock:
            return vending.vend(event, self._account)

    def sign(self, csr: str, caller: str, lifetime: timedelta) -> str:
        """Return the certificate of a CA of the operator's own for a request.

        Raises:
            NotSignedError: The request is not signed.
            BackendError: It could not be.
        """
        with self._lock:
            if not self.store.signer().cas:
                self.store.save_signer(Signer(cas=(make_ca(self._account.now()),), on=True))
            account = replace(self._account, settings=replace(self._account.settings, lifetime=lifetime))
            return str(signing.sign(signer_event(csr, caller), account, SandboxKeys())["certificatePem"])

    def authorities(self) -> str:
        """Return the certificates of the CAs that have signed here, PEM."""
        with self._lock:
            return "".join(ca.pem for ca in self.store.signer().cas)

    def sweep(self, ahead: timedelta) -> list[str]:
        """Make two rounds, as a deletion takes them, at a later time; return what was counted, as sentences."""
        with self._lock:
            told = len(self.outbox.counted)
            for later in (ahead, ahead + _HOUR):
                sweep.sweep(replace(self._account, now=partial(self._later, later)), lambda: _HOUR, lambda _: None)
            return [
                f"{str(about['certificateId'])[:12]}  {metric}: {about[REASON]}"
                for metric, _, about in self.outbox.counted[told:]
            ]

    def audit(self, certificate_id: str, check: Check) -> str:
        """Have an audit find a certificate, and deliver that as the queue does; return what came of it, as a sentence.

        Raises:
            KeyError: There is no such certificate.
        """
        with self._lock:
            task, told = f"sandbox-{next(self._audits)}", len(self.outbox.counted)
            ends = self.registry.entries[certificate_id].certificate.not_after
            auditor = MemoryAuditor()
            auditor.audits[task] = [AuditFinding(check=check, certificate_id=certificate_id, ends=ends)]
            message = {"Records": [{"body": json.dumps({"taskId": task})}]}
            audits.hear(message, self._account, auditor, lambda: _HOUR)
            about = cast("Mapping[str, Any]", self.outbox.counted[told][2])
        if REASON in about:
            return f"nothing is ordered: {about[REASON]}"
        return f"{' '.join(about['things'])} is ordered to rotate, by {' '.join(about['jobs'])}"

    def _later(self, span: timedelta) -> datetime:
        return self._account.now() + span
