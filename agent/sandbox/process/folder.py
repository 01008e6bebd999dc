"""The folder of a sandbox: everything an agent needs, and what tells that a sandbox runs in it.

::

    DIR/config.yaml      ready for the agent
    DIR/claim/           the claim certificate and key, as a factory would put them there
    DIR/vending.yaml     ready for another agent, which buys its first certificate at the vending machine
    DIR/vending/         its token, and what it will keep
    DIR/roots.pem        the anchor of the endpoint
    DIR/roots/NAME.pem   each root that the endpoint may move to; the first one is called a
    DIR/state/           where the agent will keep its generations
    DIR/control.sock     takes orders, one a connection
    DIR/cloud/           the broker's own files
    DIR/sandbox.lock     locked while a sandbox runs
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent.errors import AgentError, ConfigError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.sandbox.service import LocalCloud

SERIAL, BUYER = "0042", "0043"
FIRST_ROOT = "a"


@contextmanager
def occupied(directory: Path) -> Iterator[None]:
    """Make the folder and have it to oneself; the kernel ends that with the process, however it ends.

    Raises:
        RefusedError: Another sandbox runs in it.
        ConfigError: A file is in the way.
        AgentError: It cannot be made.
    """
    try:
        (directory / "cloud").mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (directory / "sandbox.lock").open("w")
    except (FileExistsError, NotADirectoryError) as error:
        hint = "Name another directory with --dir."
        raise ConfigError(f"{directory} cannot be made: a file stands there, or above it.", hint=hint) from error
    except OSError as error:
        raise AgentError(f"{directory} cannot be made: {error.strerror}.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(
                f"Another sandbox runs in {directory}.",
                hint=f"End it with `iot-cert sandbox --dir {directory} stop`, or choose another folder.",
            ) from None
        yield


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
        write_root(directory, FIRST_ROOT, service.root_pem)
        _write(path, _configuration(directory, directory, service, probation, _claim(directory, service)).encode())
        place = directory / "vending"
        place.mkdir(mode=0o700, exist_ok=True)
        _write(place / "token", service.cloud.stack.arm(BUYER).encode())
        bought = _configuration(directory, place, service, probation, _vending(place, service))
        _write(directory / "vending.yaml", bought.encode())
    except OSError as error:
        raise AgentError(f"{directory} cannot be written: {error.strerror}.") from error
    return path


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - with a mode
        file.write(data)


def write_root(directory: Path, name: str, pem: bytes) -> Path:
    """Write a root to its place and return the path.

    Raises:
        OSError: It cannot be written.
    """
    path = directory / "roots" / f"{name}.pem"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _write(path, pem)
    return path


def _claim(directory: Path, service: LocalCloud) -> str:
    token, claim = service.cloud.stack.arm(SERIAL), directory / "claim"
    return f"""\
  method: fleet-provisioning
  template: gateway
  parameters: {{SerialNumber: "{SERIAL}", RegistrationToken: "{token}"}}
  claim: {{certificate: {claim}/certificate.pem, key: {claim}/key.pem}}"""


def _vending(place: Path, service: LocalCloud) -> str:
    return f"""\
  method: vending-machine
  url: {service.vending.url}
  token: {{file: {place}/token}}
  parameters: {{SerialNumber: "{BUYER}"}}"""


def _configuration(directory: Path, place: Path, service: LocalCloud, probation: int, enrollment: str) -> str:
    return f"""\
# Written by `iot-cert sandbox` for an agent on this machine; the next start writes it again.
endpoint: {service.host}
port: {service.port}          # with ALPN, as on AWS's port 443: port {service.alpn_port} and `alpn: true`
state_dir: {place}/state
runtime_dir: {place}/run
trust:
  anchors: {directory}/roots.pem
vouched_clock: true           # agent and cloud share this machine's clock
timeouts: {{connect: 20s, request: 5s}}
enrollment:
{enrollment}
rotation:
  template: gateway-rotation
  probation: {probation}s
  refusal_patience: 3s        # on AWS a minute; here nothing needs time to spread
  daily_limit: 100
"""
