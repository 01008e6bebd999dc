"""`orphans`: certificates of the account that no gateway seems to use. Nothing is deleted by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.backend.decide.deletion import CertificateKind
from agent.core.exit_codes import Exit
from agent.core.text import counted
from agent.fleet.certificates import classified

if TYPE_CHECKING:
    from agent.fleet.task import OperatorTask

_FINE = {CertificateKind.IN_USE, CertificateKind.RETIRED, CertificateKind.PENDING}
_A_SECOND = 5  # of the ten ListPrincipalThings that AWS answers to the account; a rotation takes three


def orphans(task: OperatorTask) -> Exit:
    """Look at each certificate of the account, with room left for gateways, and tell of each as it is found."""
    seen: dict[CertificateKind, int] = {}
    found = classified(task.fleet.registry, task.fleet.store, task.now)
    for certificate, judged in task.watched(found, "Certificates looked at, five a second at most"):
        task.pause(1 / _A_SECOND)
        seen[judged.kind] = seen.get(judged.kind, 0) + 1
        if judged.kind in _FINE and not task.arguments.all:
            continue
        name, made = certificate.certificate_id, f"{certificate.created_at:%Y-%m-%d}"
        told = {"certificate": name, "kind": judged.kind.value, "status": certificate.status.value, "created": made}
        remedy = [f"  {judged.remedy}"] if judged.remedy else []
        line = f"  {judged.kind}, made {made}. {judged.why}"
        task.output.tell({**told, "why": judged.why}, name, line, *remedy)
    told_of, every = sum(count for kind, count in seen.items() if kind not in _FINE), sum(seen.values())
    if not every or not (told_of or task.arguments.all):
        task.output.nothing(f"{counted(every, 'certificate')}, none of them to be looked at.")
        return Exit.DONE
    task.show([f"{counted(every, 'certificate')}, {told_of} of them to be looked at."])
    return Exit.DEGRADED if told_of else Exit.DONE
