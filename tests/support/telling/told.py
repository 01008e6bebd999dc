"""What each of the gateway's tellers says of a situation: made on a real store with a real daemon's facts, and run.

``PYTHONPATH=tests python -m support.telling.told`` writes what is said now to `tests/data/told.json`, for a person to
read; `tests/scenarios/told/test_told.py` compares.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import socket
import sys
import tarfile
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from agent import cli
from agent.cli.looking import support as bundle
from agent.config import reader
from agent.config.reader import load
from agent.core.change.records import encode_outcome, encode_record
from agent.core.report import checks, shadow
from agent.core.report.known import ConnectionState
from agent.daemon.app import Daemon
from agent.doctor import looks
from agent.operations import snapshot
from support.running.daemon_rig import DaemonRig, Recorded
from support.running.systemd import tls_server
from support.simulated import outside
from support.simulated.rig import Rig
from support.simulated.simulator import SimulatedClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.report.journal_events import Event
    from agent.core.worker_protocol import Order

DAY = timedelta(days=1)
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory with a random name is made in it
ENROLMENT = "enrollment: {{template: gateway, claim: {{certificate: {0}/claim.pem, key: {0}/claim.key}}}}\n"
TELLERS = ("status", "check", "config check", "exit codes", "metrics", "shadow", "journal", "support bundle")
REMEDIES = "remedies"  # of what `check` says, in its order
Told = dict[str, list[str]]


class IdleWorker(Recorded):
    """A worker that does nothing."""

    orders: ClassVar[list[Order]] = []


class ConnectedPlace(DaemonRig):
    """A gateway that has enrolled, and a daemon that has looked at it and is connected."""

    def __init__(self, path: Path, *, age: timedelta = timedelta(), lifetime: timedelta | None = None) -> None:
        """Have the gateway ready; it has no daemon yet.

        Args:
            path: An empty directory.
            age: How long ago everything began.
            lifetime: How long certificates last; AWS's own if not given.
        """
        self.path, self.state = path, path / "state"
        self.now = datetime.now(UTC)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(outside, "START", self.now - age)
        self.patch.setattr(looks, "file_system", lambda _: ("/", "ext4"))  # whatever the test's machine has
        self.patch.setattr(reader, "_compose", cache(reader._compose))  # one file, which each teller reads
        self.gateway = Rig(self.state, lifetime=lifetime)
        (path / "run").mkdir()
        (path / "deploy").mkdir()
        claim = self.gateway.cloud.claim
        (path / "claim.pem").write_bytes(claim.certificate_pem)
        (path / "claim.key").write_bytes(claim.key_pem)
        (path / "claim.key").chmod(0o600)
        self.events: list[str] = []
        self.endpoint, self.more = "127.0.0.1", ENROLMENT.format(path)
        self.trust = ""
        self.answers = self.listens = True
        self.server = contextlib.ExitStack()

    def start(self) -> Daemon:
        """Start the daemon; it has seen nothing yet."""
        pair = self.gateway.root.issue_server("127.0.0.1", self.now - DAY, self.now + DAY)
        (self.path / "server.pem").write_bytes(pair.key_pem + pair.certificate_pem)
        port = self.server.enter_context(tls_server(self.path / "server.pem")).rpartition(":")[2]
        (self.path / "config.yaml").write_text(
            f"endpoint: {self.endpoint}\nport: {port}\nstate_dir: {self.state}\nruntime_dir: {self.path}/run\n"
            f"deploy_dir: {self.path}/deploy\nvouched_clock: true\n"
            f"trust: {{anchors: {self.path}/roots.pem{self.trust}}}\n{self.more}"
        )
        (self.path / "roots.pem").write_bytes(self.gateway.root.pem)
        for name in ("config.yaml", "roots.pem"):
            (self.path / name).chmod(0o644)
        self.config = load(self.path / "config.yaml")
        self.clock = SimulatedClock(self.now)
        self.daemon = Daemon(self.config, clock=self.clock, start_worker=IdleWorker)
        self.daemon._log._log.log = self._note  # type: ignore[method-assign, assignment]
        self.stand(generation=1, state=ConnectionState.UP)
        return self.daemon

    def _note(self, event: Event, text: str, **_: object) -> None:
        self.events.append(f"{event}: {text}")

    def see(self, **changes: Any) -> None:  # type: ignore[override]
        """Have a worker look, and the daemon tell.

        Args:
            changes: What a worker would see besides, where the test's machine cannot be brought to it.
        """
        found = replace(snapshot.seen(self.config, snapshot.take(self.config)), **changes)
        self.daemon.facts.take(found)
        self.daemon.report.publish()

    def end(self, record: ChangeRecord) -> None:
        """Let a change have ended, before the daemon starts."""
        with (self.state / "history.jsonl").open("ab") as history:
            history.write(encode_outcome(record))

    def fly(self, record: ChangeRecord) -> None:
        """Let a change be in flight, before the daemon starts."""
        (self.state / "change.json").write_bytes(encode_record(record))
        (self.state / "change.json").chmod(0o600)

    def close(self) -> None:
        """Let go of everything."""
        self.server.close()
        self.patch.undo()
        if hasattr(self, "daemon"):
            self.daemon.close()
            self.daemon.loop.close()
        self.gateway.close()

    # -- what is said ----------------------------------------------------------------------------------------------

    def told(self) -> Told:
        """Have each of the tellers say how the gateway stands."""
        with self._listening():
            told = {**self._commands(), **self._daemons()}
        return {teller: [self._plain(line) for line in told[teller]] for teller in (*TELLERS, REMEDIES)}

    def _commands(self) -> Told:
        status, shown = self._run("status", "--json"), self._run("status")[1]
        document = json.loads(status[1])
        assert all(text in shown for text in document["health"]), "the screen says what the document says"
        check, lines = self._run("check", "--json")
        config, warnings = self._run("config", "check")
        wrong = [item for item in map(json.loads, lines.splitlines()) if item["event"] == "line" and _is_wrong(item)]
        codes = (f"status {status[0]}", f"check {check}", f"config check {config}")
        return {
            "status": [
                f"{item['severity']} {item['check']} {item['code']}: {item['text']}" for item in document["findings"]
            ],
            "check": [f"{item['verdict']} {item['check']} {item['code']}: {item['text']}" for item in wrong],
            REMEDIES: [item.get("remedy", "") for item in wrong],
            "config check": [] if config == 0 and "warning" not in warnings else warnings.strip().splitlines(),
            "exit codes": list(codes),
            "support bundle": self._bundle(lines),
        }

    def _daemons(self) -> Told:
        if not self.listens or not self.answers:
            return {"metrics": [], "shadow": [], "journal": []}
        report = shadow.report(self.status(), shadow.Wish())
        metrics = (self.path / "run" / "metrics.prom").read_text()
        samples = [line.removeprefix("iot_cert_") for line in metrics.splitlines() if "cert_findings{" in line]
        health = next(line.split()[-1] for line in metrics.splitlines() if line.startswith("iot_cert_health "))
        return {
            "metrics": [f"health {health}", *samples],
            "shadow": [f"health {report['health']}", *([str(report["problem"])] if report["problem"] else [])],
            "journal": list(self.events),
        }

    def _bundle(self, checked: str) -> list[str]:
        target = self.path / "bundle.tar"
        with self._checked_already(checked):
            self._run("support-bundle", "--output", str(target))
        with tarfile.open(target) as archive:
            document = json.loads(archive.extractfile("iot-cert-support/status.json").read())  # type: ignore[union-attr]
            found = archive.extractfile("iot-cert-support/check.jsonl").read()  # type: ignore[union-attr]
        lines = [json.loads(line) for line in found.splitlines()]
        return [
            *(f"status.json {item['code']}" for item in document["findings"]),
            *(f"check.jsonl {line['check']}" for line in lines if _is_wrong(line)),
        ]

    @contextmanager
    def _checked_already(self, lines: str) -> Iterator[None]:
        """Let the bundle have what `check --json` has just said, and nothing of the machine's journal and unit."""
        said = "".join(line for line in lines.splitlines(keepends=True) if '"event": "line"' in line).encode()
        before = dict(vars(bundle))
        vars(bundle).update(check_apart=lambda _: said, _output_of=lambda _: b"")
        try:
            yield
        finally:
            vars(bundle).update(before)

    def hear(self, *arguments: str) -> tuple[int, str]:
        """Run a command while the daemon answers; return its exit code and what it printed."""
        with self._listening():
            return self._run(*arguments)

    def _run(self, *arguments: str) -> tuple[int, str]:
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = cli.main(["--config", str(self.path / "config.yaml"), *arguments])
        return int(code), out.getvalue() or error.getvalue()

    @contextmanager
    def _listening(self) -> Iterator[None]:
        if not self.listens:
            yield
            return
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path / "run" / "control.sock"))
            listener.listen()
            thread = threading.Thread(target=self._serve, args=(listener,))
            if self.answers:
                thread.start()
            try:
                yield
            finally:
                if self.answers:
                    listener.shutdown(socket.SHUT_RDWR)
                    thread.join()
                (self.path / "run" / "control.sock").unlink()

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rb") as heard:
                    verb = json.loads(heard.readline())["verb"]
                    answer = self.say(verb).last if verb in {"status", "history"} else EXAMINED
                    connection.sendall(json.dumps(answer, default=str).encode() + b"\n")

    def _plain(self, text: str) -> str:
        text = text.replace(str(self.path), "DIR")
        text = re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d UTC)?", "TIME", text)
        return re.sub(r"(127\.0\.0\.1:|amazonaws\.com:|invalid:|on port )\d+", r"\1PORT", text)


def _is_wrong(line: dict[str, Any]) -> bool:
    """Whether a line says something that is not of the disk of the test's own machine."""
    own = line["code"] in {"volatile", "overlay"} and "lasts. " not in line["text"] and ". The" not in line["text"]
    return line["verdict"] in {"warning", "failure"} and not own


FINE = (checks.ok("connect", "It connects."), checks.ok("permissions", "All is allowed."))
EXAMINED = {
    "event": "examination",
    "lines": [
        {"check": line.check, "verdict": line.verdict, "code": line.code, "text": line.text, "exit": 0} for line in FINE
    ],
    "exit": 0,
}


@contextmanager
def place(**arguments: Any) -> Iterator[ConnectedPlace]:
    """Give a gateway in a directory of its own."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        made = ConnectedPlace(Path(name), **arguments)
        try:
            yield made
        finally:
            made.close()


TABLE = Path(__file__).parents[2] / "data" / "told.json"

if __name__ == "__main__":
    from support.telling.situations import SITUATIONS, told

    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    table = {name: told(name) if name in (sys.argv[1:] or SITUATIONS) else table[name] for name in SITUATIONS}
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
