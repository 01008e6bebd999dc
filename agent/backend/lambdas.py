"""The functions that AWS Lambda starts. What they do is in `agent.backend.handlers`; the account for it is made here.

A function that cannot find out ends with an error: AWS IoT Core then registers nothing, and a rule's event comes again.
What cannot be done is counted, too. An environment that is not what the template gives it shows in Lambda's `Errors`
alone, since how and where to count is said there.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from agent.backend import settings
from agent.backend.aws.auditor import AwsAuditor
from agent.backend.aws.clients import OF_RETIREMENTS, OF_THE_HOOK, OF_THE_SWEEP, CallPatience, client, connect
from agent.backend.aws.outbox import AwsOutbox
from agent.backend.aws.registry import AwsRegistry
from agent.backend.aws.signer import AwsSigner
from agent.backend.aws.store import AwsStore
from agent.backend.errors import BackendError, MisconfiguredError
from agent.backend.handlers import audits, vending
from agent.backend.handlers import hook as hooks
from agent.backend.handlers import replacement as replacements
from agent.backend.handlers import retirement as retirements
from agent.backend.handlers import sweep as sweeps
from agent.backend.handlers.account import Account
from agent.backend.handlers.census import census
from agent.backend.names import BY_THE_CLOCK, COUNT, REASON, Metric, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def hook(event: Mapping[str, Any], _: object) -> dict[str, Any]:
    """Answer whether a certificate may be registered.

    Raises:
        BackendError: It could not be found out.
    """
    return dict(run(OF_THE_HOOK, lambda account: hooks.hook(event, account)))


def retire(event: Mapping[str, Any], context: Any) -> None:
    """Carry out, and answer, what a gateway asks for; by the clock, retire devices that were replaced.

    Raises:
        BackendError: It was not carried out, or not answered.
    """
    if event == BY_THE_CLOCK:
        run(OF_RETIREMENTS, lambda account: replacements.retire_replaced(account, _time_left(context)))
        return
    run(OF_RETIREMENTS, lambda account: retirements.retire(event, account))


def vend(event: Mapping[str, Any], _: object) -> dict[str, Any]:
    """Answer a client of the certificate vending machine.

    Raises:
        BackendError: It could not be found out, or not be carried out.
    """
    return dict(run(OF_RETIREMENTS, lambda account: vending.vend(event, account)))


def audit(event: Mapping[str, Any], context: Any) -> None:
    """Order what an audit has found to be due.

    Raises:
        BackendError: It could not be found out, or not be ordered.
    """
    run(OF_THE_SWEEP, lambda account: audits.hear(event, account, auditor(), _time_left(context)))


def sweep(event: Mapping[str, Any], context: Any) -> None:
    """Delete what was retired long enough ago; or, when it is told so, count what there is.

    Raises:
        BackendError: AWS did not answer about a certificate.
    """
    time_left = _time_left(context)
    if event == COUNT:
        run(OF_THE_SWEEP, lambda account: census(account, lambda: time_left() >= sweeps.RESERVE))
        return
    run(OF_THE_SWEEP, lambda account: sweeps.sweep(account, time_left, time.sleep))


def now() -> datetime:
    """Return the wall clock, which AWS keeps right, to the second, as the tables have it."""
    return datetime.now(tz=UTC).replace(microsecond=0)


@cache
def account(patience: CallPatience) -> Account:
    """Return the account that the function's environment names, made once for each execution environment.

    Raises:
        MisconfiguredError: The environment is not what the template gives it.
    """
    chosen = settings.read(os.environ)
    try:
        devices, certificates = os.environ[Variable.DEVICES], os.environ[Variable.CERTIFICATES]
        arn, stack = os.environ[Variable.CERTIFICATE_ARN], os.environ[Variable.STACK]
    except KeyError as error:
        raise MisconfiguredError(f"The function's environment lacks {error}.") from None
    clients, signer = connect(patience), None
    if chosen.signer_function:
        signer = AwsSigner(lambda: client("lambda", patience), chosen.signer_function)
    return Account(
        registry=AwsRegistry(clients, arn),
        store=AwsStore(clients, devices, certificates),
        outbox=AwsOutbox(clients, stack, now),
        now=now,
        settings=chosen,
        signer=signer,
    )


@cache
def auditor() -> AwsAuditor:
    """Return Device Defender, met once for each execution environment."""
    return AwsAuditor(connect(OF_THE_SWEEP))


def run(patience: CallPatience, handle: Callable[[Account], Any]) -> Any:
    """Have a handler work in the account; count what it could not do.

    Raises:
        BackendError: It could not be done; or, uncounted, the environment is not what the template gives it.
    """
    here = account(patience)
    try:
        return handle(here)
    except BackendError as error:
        here.outbox.count(Metric.FAULTS, about={REASON: str(error), "error": type(error).__name__})
        raise


def _time_left(context: Any) -> Callable[[], timedelta]:
    return lambda: timedelta(milliseconds=context.get_remaining_time_in_millis())
