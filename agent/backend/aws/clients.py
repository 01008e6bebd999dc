"""Clients of AWS's services, how long each is waited for, and what their errors mean."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from agent.backend.errors import BackendError, ChangedError, MisconfiguredError, UnavailableError
from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MISSING = frozenset({"ResourceNotFoundException"})

THROTTLED = {
    "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled", "Throttling",
    "ThrottlingException", "TooManyRequestsException",
}  # fmt: skip
SERVER_ERROR = 500


class GoneError(ChangedError):
    """What is asked about is not there."""


@frozen
class CallPatience:
    """How long one call is waited for.

    Attributes:
        connect: Seconds for a connection.
        read: Seconds for an answer.
        attempts: How often it is tried.
        mode: How botocore spaces them; `adaptive` slows the caller down when it is throttled.
    """

    connect: float
    read: float
    attempts: int
    mode: str = "standard"


# AWS gives the hook five seconds in all; for the others only a gateway waits, and it asks again.
OF_THE_HOOK = CallPatience(connect=0.5, read=1.0, attempts=2)
OF_RETIREMENTS = CallPatience(connect=1.0, read=3.0, attempts=3)
OF_THE_SWEEP = CallPatience(connect=2.0, read=10.0, attempts=6, mode="adaptive")


@frozen
class Clients:
    """One client of each service; boto3 has no types for them.

    Attributes:
        iot: AWS IoT Core's control plane.
        data: Its data plane: shadows, and publishing.
        tables: DynamoDB.
    """

    iot: Any
    data: Any
    tables: Any


def connect(patience: CallPatience) -> Clients:
    """Return clients in the function's region, with its role's credentials."""
    session = boto3.session.Session()
    services = ("iot", "iot-data", "dynamodb")
    iot, data, tables = (session.client(service, config=_config(patience)) for service in services)
    return Clients(iot=iot, data=data, tables=tables)


def client(service: str, patience: CallPatience) -> Any:
    """Return a client of a service that one function alone needs."""
    return boto3.session.Session().client(service, config=_config(patience))


def _config(patience: CallPatience) -> Config:
    retries = {"mode": patience.mode, "total_max_attempts": patience.attempts}
    return Config(connect_timeout=patience.connect, read_timeout=patience.read, retries=retries)


@contextmanager
def asking(changed: Collection[str] = ()) -> Iterator[None]:
    """Turn what boto3 raises into the errors of the ports.

    Args:
        changed: The codes of errors by which a service says that something is not as it was read.

    Raises:
        UnavailableError: No answer, or one that AWS is overloaded or has failed.
        ChangedError: One of the codes in `changed`; a `GoneError` where that is one of `MISSING`.
        MisconfiguredError: Any other refusal.
    """
    try:
        yield
    except ClientError as error:
        raise _meaning(error, changed) from error
    except ParamValidationError:
        raise  # a defect of the caller, and no event
    except BotoCoreError as error:
        raise UnavailableError(f"AWS does not answer: {error}") from error


def _meaning(error: ClientError, changed: Collection[str]) -> BackendError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in changed:
        return (GoneError if code in MISSING else ChangedError)(str(error))
    if code in THROTTLED or status >= SERVER_ERROR:
        return UnavailableError(str(error))
    return MisconfiguredError(str(error))
