"""What is read before the first connection, and what is made for it; the rest is told against the sandbox's broker."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.failure import failures
from agent.errors import CloudError
from agent.iotcore.broker import Broker

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import sys
from pathlib import Path
from agent.config.reader import parse
from agent.operations.wiring import open_parts
from agent.worker import main
config = parse(sys.argv[1], Path("/config.yaml"))
with open_parts(config, main.Wire(), create=True) as parts:
    parts.broker.note_connect("gw-0042", 1.0)
    assert parts.broker.last_connect("gw-0042") == 1.0
    assert parts.broker.hand_over("gw-0042") is None
print({"awscrt", "awsiot", "ssl"} & set(sys.modules))
"""


def test_a_worker_that_connects_with_nothing_reads_no_sdk(tmp_path: Path) -> None:
    """A look at each start and reload is 0.2 s of a processor without it."""
    text = f"endpoint: abc-ats.iot.eu-west-1.amazonaws.com\nstate_dir: {tmp_path}/state\n"
    command = [sys.executable, "-c", SCRIPT, text]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


CANDIDATE: Any = SimpleNamespace(
    name="generation 1", credential=SimpleNamespace(key_pem=b"", certificate_pem=b""), trust=SimpleNamespace(pem=b"")
)


class RefusingConnector:
    """What connects to an endpoint, and refuses every set."""

    def tls_context(self, *_: object) -> None:
        """See `Connector`."""
        raise CloudError(failures.silent())

    def with_alpn(self) -> None:
        """See `Connector`."""


def test_what_connects_is_made_once_and_for_the_first_connection() -> None:
    """It holds the SDK's threads, which each further one would have of its own."""
    made: list[Any] = []

    def make() -> Any:
        made.append(RefusingConnector())
        return made[-1]

    broker = Broker(make)
    assert made == []
    for _ in range(2):
        with pytest.raises(CloudError):
            broker.connect(CANDIDATE)
    assert len(made) == 1
