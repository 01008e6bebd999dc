"""A gateway that is run as a person runs it: the real command, the real SDK, a local AWS IoT Core on loopback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from agent.cli.command_line import fast_path
from agent.config.reader import load
from agent.core.change.lifecycle import Phase
from agent.core.values import Kind, Origin
from agent.iotcore import broker
from agent.operations.wiring import open_parts
from agent.sandbox.account.authority import fingerprint
from agent.sandbox.cloud import Cloud
from agent.sandbox.process.console import Console
from agent.sandbox.process.folder import write_configuration
from agent.sandbox.service import LocalCloud
from agent.store.notes import reported
from agent.store.store import Store
from support.simulated.simulator import SimulatedEndpoint
from support.simulated.unheard import Unheard
from support.suite import warm
from support.suite.ran import Ran

if TYPE_CHECKING:
    from agent.core.change.lifecycle import ChangeRecord

COMMAND = str(Path(sys.executable).with_name("iot-cert"))
PATIENT = "request: 1m"  # the cloud shares a machine with much else to do: no answer by then is none


class _Unconnected(SimulatedEndpoint):
    """The cloud as the engine meets it where no bytes are sent; in the place of `agent.iotcore.broker.Broker`."""

    def close(self) -> None:
        """Hear no more of the cloud, which goes on."""
        self.cloud.detach(self)


@dataclass
class Gateway:
    """One gateway and its cloud; a context manager."""

    directory: Path
    lifetime: timedelta | None = None
    address: str = "127.0.0.1"
    settings: dict[str, str] = field(default_factory=dict)
    ran: list[Ran] = field(default_factory=list)
    _tokens: set[str] = field(default_factory=set)

    def __enter__(self) -> Self:
        (self.directory / "cloud").mkdir()
        self.cloud = Cloud(lambda: datetime.now(UTC), lifetime=self.lifetime)
        self.service = LocalCloud(self.cloud, self.directory / "cloud", address=self.address)
        self.service.start()
        self.console = Console(self.service, lambda: datetime.now(UTC), self.directory)
        self.config = write_configuration(self.directory, self.service, probation=1)
        self.configure({"refusal_patience: 3s": "refusal_patience: 1s", "request: 5s": PATIENT} | self.settings)
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.directory / "state"

    def configure(self, changes: dict[str, str]) -> None:
        """Change text in the configuration; every piece must be there."""
        text = self.config.read_text()
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        self.config.write_text(text)

    def expect_silence(self) -> Self:
        """Have a request that is not answered fail within seconds, since the story waits for that."""
        self.configure({PATIENT: "request: 5s"})
        return self

    def rotation(self, **values: str) -> None:
        """Set keys of the section `rotation`, which is the last of the configuration."""
        text = self.config.read_text()
        for key, value in values.items():
            text = re.sub(rf"^  {key}: .*\n", "", text, flags=re.MULTILINE)
            text += f"  {key}: {value}\n"
        self.config.write_text(text)

    def twin(self) -> Self:
        """Return a second gateway with copies of this one's state and configuration, before the same cloud."""
        twin = copy(self)
        twin.directory = self.directory / "twin"
        twin.config = twin.directory / "config.yaml"
        shutil.copytree(self.state, twin.state, symlinks=True)
        text = self.config.read_text()
        for name in ("state", "run"):
            text = text.replace(f"_dir: {self.directory}/{name}", f"_dir: {twin.directory}/{name}")
        twin.config.write_text(text)
        return twin

    def order(self, text: str) -> str:
        """Give an order to the cloud."""
        return self.console.obey(text)

    def run(self, *arguments: str, expect: int | None = None, timeout: float = 180) -> Ran:
        """Run the command and, if said, hold it to an exit code."""
        done = warm.run(
            ["--config", str(self.config), *arguments],
            timeout=timeout,
            cwd=self.directory,
            env=os.environ | {fast_path.RUNTIME: f"{self.directory}/run"},  # where a package's daemon is found at once
        )
        typed = f"iot-cert --config {self.config} "  # as remedies repeat it; what a test says of them is shorter
        out, err = (said.replace(typed, "iot-cert ") for said in (done.stdout, done.stderr))
        ran = Ran(arguments=arguments, code=done.returncode, out=out, err=err)
        self.remember(ran)
        assert "Traceback" not in ran.out + ran.err
        if expect is not None:
            assert ran.code == expect, ran.out + ran.err
        return ran

    def enroll(self) -> None:
        """Get the first certificate as `iot-cert enroll` does, but in this process, and with no time on probation.

        The cloud is asked without a connection, which is two thirds of what an enrolment costs; a test that is about
        the first one itself runs the command.
        """
        self._change(Kind.ENROLL)
        self.cloud.stack.readmit("0042")  # for stories in which it loses all that it has

    def rotate(self) -> None:
        """Get another certificate as `iot-cert rotate` does; see `enroll`."""
        self._change(Kind.ROTATE)

    def _change(self, kind: Kind) -> None:
        config = load(self.config)
        config = replace(config, rotation=replace(config.rotation, probation=timedelta(0)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(broker, "Broker", self._unconnected)
            with open_parts(config, Unheard(), create=True) as parts:
                parts.change.planner.begin(kind, Origin.TECHNICIAN, "asked for by a technician")
                outcome = parts.change.engine.run()
        assert outcome.record.phase is Phase.COMMITTED, outcome.record.failure
        reported.write(self.state, outcome.record.id)  # as the command does once it has said how it ended
        self._note_tokens()

    def _unconnected(self, *_: object, **__: object) -> _Unconnected:
        root = fingerprint(self.service.endpoint_authority.certificate)
        return _Unconnected(cloud=self.cloud, root_sha256=root)

    def remember(self, ran: Ran) -> None:
        """Keep what was said, and the tokens that must not be in it."""
        self.ran.append(ran)
        self._note_tokens()

    def _note_tokens(self) -> None:
        self._tokens |= {entry.token for entry in self.cloud.registry.values() if entry.token}

    def start(self, *arguments: str, log: Path | None = None, **environment: str) -> subprocess.Popen[str]:
        """Start the command and let it run; what it says goes to the end of a file, or else into a pipe."""
        command = [COMMAND, "--config", str(self.config), *arguments]
        with open(log, "a") if log else nullcontext(subprocess.PIPE) as output:  # noqa: PTH123 - a file or none
            return subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=self.directory,
                env={**os.environ, **environment},
            )

    def fork(self, *arguments: str, log: Path | None = None, **environment: str) -> warm.Forked:
        """Have a command or a daemon run that costs its work alone; what it says goes as `start` has it."""
        words = ["--config", str(self.config), *arguments]
        env = {**os.environ, **environment}
        return warm.start(words, cwd=self.directory, env=env, log=log)

    def generations(self) -> tuple[int | None, int | None]:
        """Return current and previous, after checking that they are whole."""
        with Store(self.state) as store:
            current, previous = store.current(), store.previous()
            for number in (current, previous):
                assert number is None or store.generation(number).number == number
        return current, previous

    def generations_link(self) -> int:
        """Return where `current` points, whole or not."""
        return int((self.state / "current").readlink().name)

    def history(self) -> tuple[ChangeRecord, ...]:
        """Return the finished changes."""
        with Store(self.state) as store:
            return store.history()

    def certificate_id(self) -> str:
        """Return the id of the current certificate."""
        with Store(self.state) as store:
            return store.generation(store.current() or 0).manifest.certificate_id

    def secrets(self) -> set[str]:
        """Return pieces of every key on the gateway and every ownership token the cloud gave out."""
        keys = [*self.directory.rglob("key.pem")]
        lines = {
            line for key in keys for line in key.read_text().splitlines() if re.fullmatch(r"[A-Za-z0-9+/=]{20,}", line)
        }
        return lines | self._tokens

    def everything_said(self) -> str:
        """Return all that was printed, logged, recorded or passed as an argument."""
        said = [text for ran in self.ran for text in (*ran.arguments, ran.out, ran.err)]
        files = [
            path
            for path in self.directory.rglob("*")
            if path.is_file()
            and not path.is_symlink()
            and path.name not in {"key.pem", "credential.pem", "change.json"}
        ]
        return "\n".join([*said, *(path.read_text(errors="replace") for path in files), json.dumps(dict(os.environ))])
