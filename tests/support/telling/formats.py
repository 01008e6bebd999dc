"""What programs read of the agent: the JSON of each verb, the files, metrics, shadow and jobs, by keys and types.

`observe` tells one story of a gateway against the sandbox and keeps every document it meets. `shape` says what a reader
of a document rests on, and `missing` what such a reader would miss in another one. A release keeps its documents in
`tests/data/VERSION/`, which is written once, at that version's commit, and never again::

    PYTHONPATH=tests .venv/bin/python -m support.telling.formats tests/data/VERSION
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner

from agent.core.change.lifecycle import Phase
from agent.core.report.journal_events import CATALOGUE
from agent.core.values import Kind
from agent.sandbox.account.authority import Authority, key_to_pem
from agent.sandbox.account.authority import name as named
from agent.sandbox.account.policies import GATEWAY
from agent.sandbox.cloud import Status
from support.running.daemon import RunningDaemon
from support.running.fleet import SHADOW, THING, until
from support.running.gateway import Gateway
from support.simulated.outside import DECADE
from support.simulated.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Iterable

Shape = dict[str, set[str]]

_NAMES = ((bool, "flag"), (int, "number"), (float, "number"), (str, "text"), (list, "list"), (dict, "object"))
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")


# -- shapes ------------------------------------------------------------------------------------------------------------


def shape(documents: Iterable[Any]) -> Shape:
    """Return the types met at each place of some documents: ``current.anchors[].subject`` is a text.

    Documents that say which event they are of are kept apart by it: ``outcome: change.phase``.
    """
    found: Shape = {}
    for document in documents:
        _note(document, f"{document['event']}: " if "event" in document else "", found)
    return found


def _note(value: Any, path: str, found: Shape) -> None:
    kind = next((told for known, told in _NAMES if isinstance(value, known)), "null")
    found.setdefault(path, set()).add(kind)
    if isinstance(value, dict):
        dot = "" if not path or path.endswith(" ") else "."
        for key, item in value.items():
            _note(item, f"{path}{dot}{key}", found)
    if isinstance(value, list):
        for item in value:
            _note(item, f"{path}[]", found)


def missing(before: Shape, now: Shape) -> list[str]:
    """Return what a reader of earlier documents misses, or meets in a type that it does not know; more is no loss."""
    told = [f"{path.strip()} is gone" for path in before if path not in now]
    for path in before.keys() & now.keys():
        new = now[path] - before[path] - {"null"}
        if new and before[path] != {"null"}:
            told.append(f"{path.strip()}: {_listed(before[path])}, now {_listed(now[path])}")
    return sorted(told)


def _listed(kinds: set[str]) -> str:
    return " or ".join(sorted(kinds))


def metrics(text: str) -> dict[str, Any]:
    """Return the metrics as a document: by name and type, with the labels and a value."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
    found: dict[str, Any] = {}
    for line in text.splitlines():
        sample = _SAMPLE.match(line)
        if sample is not None:
            labels = dict(re.findall(r'([a-z_0-9]+)="((?:[^"\\]|\\.)*)"', sample[2] or ""))
            found[f"{sample[1]} {kinds[sample[1]]}"] = {"labels": labels, "value": float(sample[3])}
    return found


# -- a story -----------------------------------------------------------------------------------------------------------


@dataclass
class RecordedStory:
    """One gateway from the factory to a fleet, and what it said meanwhile.

    Attributes:
        documents: What each verb said, and the cloud was told, by name.
        files: What the daemon left for others to read, by the file's name.
    """

    gateway: Gateway
    documents: dict[str, list[Any]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, expect: int | None = 0, under: str = "") -> list[Any]:
        """Run a command and keep what it says, under the name of its verb or another."""
        ran = self.gateway.run(*arguments, "--json", expect=expect)
        words = arguments[:2] if arguments[0] in {"trust", "config"} else arguments[:1]
        self.keep(under or "-".join(words), *ran.events)
        return ran.events

    def keep(self, name: str, *documents: Any) -> None:
        """Keep documents."""
        self.documents.setdefault(name, []).extend(documents)

    def tell(self) -> None:
        """Tell it from the beginning to the end."""
        self._alone()
        self._bundles()
        self._daemon()
        self._programs()

    def _alone(self) -> None:
        """Without a daemon: enrolled, rotated, refused, and taken back."""
        self.run("config", "check")
        self.run("check", expect=None)  # which depends on the disk and the clock of this machine, too
        self.run("enroll")
        self.run("rotate", "--dry-run")
        self.run("rotate")
        self.run("confirm")
        self.gateway.order("fault register never-active")
        self.run("rotate", expect=1)
        self.gateway.order("clear")
        self.run("rollback")
        self.run("import", "--from", str(self._stick()))
        self.run("status", expect=1)  # no daemon runs
        for verb in ("explain", "history"):
            self.run(verb)
        self.run("check", expect=None)
        self.run("support-bundle", "--output", str(self.gateway.directory / "support.tar"))
        self.run("report", "--html", str(self.gateway.directory / "report.html"))

    def _stick(self) -> Path:
        """Return a directory with a key and certificate that were made elsewhere and that the cloud knows."""
        cloud, key, stick = (
            self.gateway.cloud,
            ec.generate_private_key(ec.SECP256R1()),
            self.gateway.directory / "stick",
        )
        made = cloud.authority.issue_client(named("from a stick"), key.public_key(), cloud.now, cloud.now + DECADE)
        entry = cloud.registry.add(made, Status.ACTIVE)
        entry.policies, entry.thing_name = [GATEWAY], THING
        stick.mkdir()
        (stick / "key.pem").write_bytes(key_to_pem(key))
        (stick / "certificate.pem").write_text(entry.pem)
        return stick

    def _bundles(self) -> None:
        """Anchors that are published, looked at, installed, and put back."""
        place, service = self.gateway.directory / "signers", self.gateway.service
        place.mkdir()
        (place / "signer").write_bytes(CryptoSigner.generate_ed25519().private_bytes)
        self.gateway.configure({"trust:\n": f"trust:\n  root: {place}/repository/metadata/1.root.json\n"})
        roots = (service.endpoint_authority, Authority("Root B", service.cloud.now))
        (place / "anchors.pem").write_bytes(b"".join(root.pem for root in roots))
        self.run(
            "trust", "publish", f"{place}/repository", "--anchors", f"{place}/anchors.pem", "--archive",
            f"{place}/bundle.tar", "--key", f"root,targets,snapshot,timestamp=file2:{place}/signer",
            "--without-amazon", "a rehearsal",
        )  # fmt: skip
        self.run("trust", "check", f"{place}/anchors.pem", "--any")
        self.run("trust", "install", f"{place}/bundle.tar")
        self.run("trust", "list")
        self.run("trust", "restore")
        self.run("trust", "install", f"{place}/anchors.pem", expect=2, under="error")

    def _daemon(self) -> None:
        """With a daemon: its files, its answers, the shadow, and jobs."""
        gateway = self.gateway
        with RunningDaemon(gateway) as daemon:
            daemon.until_up()
            self.run("pause", "1h")
            self.run("resume")
            self.run("rotate", under="rotate-by-daemon")
            self.run("retire")
            self._job({"operation": "rotate-certificate", "reason": "ticket 17"})
            self._job({"operation": "report"})
            self._job({"operation": "dance", "agent": "iot-cert-agent"})
            daemon.until_up()
            self.files = {name: (daemon.runtime / name).read_text() for name in ("status.json", "metrics.prom")}
            self.run("status", under="status-by-daemon")
            self.run("explain", under="explain-by-daemon")
            self.run("check", expect=None, under="check-by-daemon")
            told = until(lambda: gateway.cloud.shadow(THING, SHADOW), "the shadow is reported")
            self.keep("shadow", told["state"]["reported"])

    def _job(self, document: dict[str, str]) -> None:
        cloud = self.gateway.cloud
        job_id = cloud.create_job(THING, document)
        until(lambda: not cloud.job(THING, job_id).status.pending, f"{document} is answered")
        execution = cloud.job(THING, job_id)
        self.keep("jobs", {"status": str(execution.status), "statusDetails": dict(execution.status_details)})

    def _programs(self) -> None:
        """Another program of the gateway, served with a copy; without it, nothing to be served."""
        gateway = self.gateway
        self.run("deploy")
        place = f"deploy_dir: {gateway.directory}/deploy\ndeploy_socket: {gateway.directory}/deploy.sock\n"
        copies = f"copies: [{{to: {gateway.directory}/copy.pem, content: certificate}}]\n"
        gateway.config.write_text(copies + place + gateway.config.read_text())
        self.run("deploy")


def observe(directory: Path) -> RecordedStory:
    """Tell the story in a directory."""
    with Gateway(directory) as gateway:
        story = RecordedStory(gateway)
        story.tell()
        return story


def shapes(documents: dict[str, list[Any]], files: dict[str, str]) -> dict[str, Shape]:
    """Return the shape of everything that was said, by name."""
    known = {**documents, "status.json": [json.loads(files["status.json"])]}
    known["metrics.prom"] = [metrics(files["metrics.prom"])]
    return {told: shape(found) for told, found in known.items()}


def recorded(place: Path) -> dict[str, Shape]:
    """Return the same of an earlier version, from its folder in `tests/data`."""
    documents = {path.stem: json.loads(path.read_text()) for path in (place / "documents").iterdir()}
    files = {path.name: path.read_text() for path in (place / "run").iterdir()}
    return shapes(documents, files)


def journal() -> dict[str, Any]:
    """Return what alerts rest on: the number and priority of each event, and the names of the fields."""
    return {str(event): {"id": message.id, "priority": int(message.priority)} for event, message in CATALOGUE.items()}


# -- recording ---------------------------------------------------------------------------------------------------------

# Besides, a person writes `config.yaml` with every key that the version knows.
STATES = {"at-rest": None, "issued": Phase.ISSUED, "on-probation": Phase.DEPLOYED}


def _record_state(target: Path, phase: Phase | None) -> None:
    """Leave a state directory of a gateway that rotated once, and is in the next rotation's phase."""
    with tempfile.TemporaryDirectory() as place:
        rig = Rig(Path(place) / "state")
        assert rig.enroll().record.phase == rig.rotate().record.phase == Phase.COMMITTED
        if phase is not None:
            rig.stop_at(Kind.ROTATE, phase)
        rig.close()
        shutil.rmtree(rig.path / "reserve", ignore_errors=True)  # made again, and nothing but zeros
        shutil.copytree(rig.path, target, symlinks=True)


def write(target: Path) -> None:
    """Record what this version says and writes."""
    for state, phase in STATES.items():
        _record_state(target / "state" / state, phase)
    with tempfile.TemporaryDirectory() as place:
        story = observe(Path(place))
        files = {f"run/{told}": text for told, text in story.files.items()}
        files["journal.json"] = _indented(journal())
        files |= {f"documents/{told}.json": _indented(found) for told, found in story.documents.items()}
        for told, text in files.items():
            (target / told).parent.mkdir(parents=True, exist_ok=True)
            (target / told).write_text(text.replace(place, "/DIRECTORY"))


def _indented(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
