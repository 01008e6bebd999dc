"""A sandbox as a process: it runs in a folder until it is told to stop, and takes orders meanwhile.

Everything the cloud knows is in memory: it is gone when the sandbox stops. Who may open the folder may give orders.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.sandbox.cloud import Cloud
from agent.sandbox.process.console import Console
from agent.sandbox.process.folder import occupied, write_configuration
from agent.sandbox.process.orders import OrderError
from agent.sandbox.service import LocalCloud

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_ORDER = 4096  # bytes
_TIMEOUT = 30.0


class ConsoleSocket:
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
        RefusedError: Another one runs there.
        AgentError: It cannot be started.
    """
    directory = directory.absolute()
    host, address = name
    cloud = Cloud(_now, lifetime=lifetime)
    with (
        occupied(directory),
        LocalCloud(cloud, directory / "cloud", host=host, address=address) as service,
    ):
        write_configuration(directory, service, probation=probation)
        control = ConsoleSocket(directory, Console(service, _now, directory))
        asyncio.run(control.serve(lambda: started(service)))


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the sandbox is a world of its own, and this is its clock
