"""The broker behind the front: one real mosquitto, private to this process.

It owns the child process, its configuration file, its socket and its log. Its rules:

* The broker listens on a unix socket only, in a folder of this process; it takes everybody, because the front has
  judged them before.
* It ends with this process: asked to, and by the kernel if this process dies without asking (`setpriv --pdeathsig`;
  the kernel counts the death of the *thread* that started it, so start it in a thread that stays).
* It keeps nothing on disk but its log.

It refuses to run without mosquitto, and says which package has it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import AgentError
from agent.system import openssl

if TYPE_CHECKING:
    from typing import Self

MAX_SOCKET_PATH = 107  # sun_path, less the closing zero

_SYSTEM_FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"  # a user's PATH often lacks the first two
_ATTEMPTS, _PAUSE = 400, 0.025  # ten seconds in all
_GRACE = 5.0
_LOG_TAIL = 500

# What AWS answers in CONNACK: no QoS 2, no topic aliases towards the broker (the front could not follow them), and a
# keep-alive of twenty minutes at most.
_CONFIGURATION = """\
listener 0 {socket}
allow_anonymous true
persistence false
max_qos 1
max_topic_alias 0
max_keepalive 1200
log_dest stderr
"""


class Mosquitto:
    """One broker; a context manager.

    Attributes:
        socket_path: Where it listens, once started.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._short: Path | None = None
        self.socket_path = directory / "mosquitto.sock"

    @property
    def pid(self) -> int | None:
        """The broker's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the broker and return once it accepts connections.

        Raises:
            AgentError: mosquitto is missing or does not start.
        """
        program = _program("mosquitto", "apt-get install mosquitto")
        guard = _program("setpriv", "apt-get install util-linux")
        self._place_socket()
        configuration = self._directory / "mosquitto.conf"
        configuration.write_text(self._configuration())
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - both programs come from the system's own folders
                [guard, "--pdeathsig", "TERM", "--", program, "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=openssl.of_others(),
            )
        try:
            self._wait_until_it_accepts(self._process)
        except BaseException:
            self.stop()
            raise

    def _place_socket(self) -> None:
        # The configuration file splits at blanks, and the kernel has a limit.
        path = str(self._directory.absolute() / "mosquitto.sock")
        if len(os.fsencode(path)) > MAX_SOCKET_PATH or len(path.split()) > 1:
            self._short = Path(tempfile.mkdtemp(prefix="iot-"))
            path = str(self._short / "mosquitto.sock")
        self.socket_path = Path(path)
        self.socket_path.unlink(missing_ok=True)

    def _configuration(self) -> str:
        text = _CONFIGURATION.format(socket=self.socket_path)
        # Started by root it would become the user `mosquitto`, who may not enter our folder.
        return text + "user root\n" if os.geteuid() == 0 else text

    def _wait_until_it_accepts(self, process: subprocess.Popen[bytes]) -> None:
        for _ in range(_ATTEMPTS):
            if process.poll() is not None:
                raise AgentError(f"mosquitto ended with {process.returncode}: {self._said()}", hint=f"See {self._log}.")
            if self._accepts():
                return
            time.sleep(_PAUSE)
        raise AgentError(f"mosquitto does not accept connections: {self._said()}", hint=f"See {self._log}.")

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket_path)) == 0

    def _said(self) -> str:
        return self._log.read_bytes()[-_LOG_TAIL:].decode(errors="replace").strip() or "it said nothing"

    def stop(self) -> None:
        """End the broker and remove its socket; harmless when it does not run."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self.socket_path.unlink(missing_ok=True)
        if self._short is not None:
            shutil.rmtree(self._short, ignore_errors=True)
            self._short = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _program(name: str, hint: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}")
    if found is None:
        raise AgentError(f"The program {name} is not installed", hint=hint)
    return found
