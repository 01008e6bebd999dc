"""Every situation in which a gateway is not as it should be, made on a real store; see `support.telling.told`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from agent.cli.carrying import client
from agent.core.change.lifecycle import Phase
from agent.core.change.reserve import Standing
from agent.core.dependants import Report, Step, encode_report
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.report.known import ConnectionState
from agent.core.report.notices import Noticed
from agent.core.values import Kind
from agent.core.when.reconnect import ReconnectState, after_takeover
from agent.core.worker_protocol import Do, Order, WorkerError
from agent.crypto import x509
from agent.dependants import copy_looks
from agent.dependants.report_file import REPORT
from agent.sandbox.account.authority import Authority, fingerprint
from agent.sandbox.replies.faults import Effect, Operation
from support import make
from support.telling.told import ConnectedPlace, IdleWorker, Told, place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REFUSED = make.failure(FailureClass.CREDENTIAL, Code.HUNG_UP, message="The broker hung up.", decisive=True)
OLD = "01" * 32


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One of them.

    Attributes:
        before: Makes it, before the daemon has started.
        after: Makes it of a daemon that has looked.
        enrols: Whether the gateway enrols first.
        made: How the place is made.
        sees: What a worker sees besides.
    """

    before: Callable[[ConnectedPlace], object] = lambda _: None
    after: Callable[[ConnectedPlace], object] = lambda _: None
    enrols: bool = True
    made: dict[str, Any] = field(default_factory=dict)
    sees: dict[str, Any] = field(default_factory=dict)


@contextmanager
def brought_into(situation: Situation) -> Iterator[ConnectedPlace]:
    """Bring a gateway into a situation."""
    with place(**situation.made) as here:
        if situation.enrols:
            # A probation is most of an enrolment; it passes where everything began some time ago.
            here.gateway.enroll() if situation.made else here.gateway.be_enrolled()
        situation.before(here)
        here.start()
        here.see(**situation.sees)
        situation.after(here)
        yield here


def told(name: str) -> Told:
    """Make a situation and have each teller tell of it."""
    with brought_into(SITUATIONS[name]) as here:
        here.daemon.report.publish()
        return here.told()


def _garbage(here: ConnectedPlace, link: str) -> None:
    (here.state / link / "certificate.pem").write_bytes(b"garbage")


def _damaged_before(here: ConnectedPlace) -> None:
    here.gateway.rotate()
    _garbage(here, "previous")


def _roots_own(here: ConnectedPlace) -> None:
    for path in (here.path, here.state, *here.state.rglob("*"), here.path / "run", here.path / "claim.key"):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    (here.path / "app.pem").write_bytes(here.gateway.root.pem)
    (here.path / "app.pem").chmod(0o400)
    here.more += f"watch: [{{path: {here.path}/app.pem}}]\n"


def _distrusted(here: ConnectedPlace) -> None:
    here.gateway.root = Authority("Root", here.now, organisation="VeriSign, Inc.")
    here.gateway.baked = x509.read_bundle(here.gateway.root.pem)
    here.gateway.endpoint.root_sha256 = fingerprint(here.gateway.root.certificate)
    here.gateway.enroll()


def _moved(here: ConnectedPlace) -> None:
    old, new = here.gateway.root, here.gateway.second_root
    here.gateway.baked = x509.read_bundle(old.pem + new.pem)
    here.gateway.enroll()
    here.gateway.endpoint.root_sha256 = fingerprint(new.certificate)
    here.gateway.rotate()


def _amazon(here: ConnectedPlace) -> None:
    here.endpoint = "abc-ats.iot.eu-west-1.amazonaws.com"
    here.more += "proxy: {host: 127.0.0.1, port: 9}\n"


def _configured(text: str) -> Callable[[ConnectedPlace], None]:
    def configure(here: ConnectedPlace) -> None:
        here.more += text.replace("DIR", str(here.path))

    return configure


def _rejected(here: ConnectedPlace) -> None:
    here.gateway.fault(Operation.REGISTER, Effect.NEVER_ACTIVE)
    here.gateway.rotate()


def _copied(
    touch: Callable[[ConnectedPlace], object] = lambda _: None, *, generation: int = 1
) -> Callable[[ConnectedPlace], None]:
    """Let a copy have been served, and then be touched."""

    def serve(here: ConnectedPlace) -> None:
        path = here.path / "app.key"
        here.more += f"copies: [{{to: {path}, content: key}}]\n"
        path.write_text("a key")
        path.chmod(0o600)
        traces = {str(path): copy_looks.trace(path)}
        steps = (Step(name=f"copy {path}"),)
        report = Report(at=here.now, generation=generation, set="ab" * 32, steps=steps, traces=traces)
        (here.path / "deploy" / REPORT).write_bytes(encode_report(report))
        touch(here)

    return serve


def _unit(here: ConnectedPlace) -> None:
    here.more += "dependants: [{unit: app.service}]\n"
    steps = (Step(name="app.service", problem="app.service is failed after its reload."),)
    report = Report(at=here.now, generation=1, set="ab" * 32, steps=steps)
    (here.path / "deploy" / REPORT).write_bytes(encode_report(report))


def _gate(here: ConnectedPlace) -> None:
    gate = here.path / "gates.d" / "10-site"
    gate.parent.mkdir()
    gate.write_text("#!/bin/sh\nexit 0\n")
    gate.chmod(0o644)
    here.more += f"gates: {{directory: {gate.parent}}}\n"


def _key(here: ConnectedPlace) -> Any:
    return here.path / "app.key"


def _down(here: ConnectedPlace) -> None:
    here.stand(state=ConnectionState.DOWN, why="No route to host.")
    here.daemon._on_disconnected("No route to host.")
    here.clock.advance(minutes=2)


def _resting(here: ConnectedPlace) -> None:
    why = "`session` asks for a look now and then; the next one is at 2027-03-01 06:00 UTC."
    here.stand(state=ConnectionState.RESTING, generation=1, why=why)
    here.daemon._on_disconnected(why)
    here.clock.advance(hours=2)


def _taken_over(here: ConnectedPlace) -> None:
    here.daemon.cloud.session._lost_to_another(
        after_takeover(ReconnectState(), 0, 0.5), "Another is here", guessed=False
    )


def _unwritable(here: ConnectedPlace) -> None:
    here.daemon.work.submit(Order(do=Do.LOOK))
    here.daemon.work.dispatch()
    assert IdleWorker.running
    IdleWorker.running.finish(error=WorkerError(message="Cannot lock DIR/state: Read-only file system."))


def _refused_configuration(here: ConnectedPlace) -> None:
    path = here.path / "config.yaml"
    before = path.read_text()
    path.write_text(before.replace(f"runtime_dir: {here.path}/run", f"runtime_dir: {here.path}/elsewhere"))
    here.daemon.surroundings._calls.reload()
    path.write_text(before)


def _refused_retirement(here: ConnectedPlace) -> None:
    here.daemon.cloud.fleet.retirements._refused[OLD] = "Not yours."


def _left_behind(here: ConnectedPlace) -> None:
    here.end(make.finished(at=here.now - 30 * DAY, replaces=OLD, generation=1, base=None))


def _silent(here: ConnectedPlace) -> None:
    here.answers = False
    here.patch.setattr(client.call, "__kwdefaults__", {"timeout": 0.2})


def _gone(here: ConnectedPlace) -> None:
    here.listens = False


SITUATIONS: dict[str, Situation] = {
    "all is as it should be": Situation(),
    # The set.
    "it has not enrolled": Situation(enrols=False),
    "the set in use is damaged": Situation(before=lambda here: _garbage(here, "current")),
    "the set before is damaged": Situation(made={"age": DAY}, before=_damaged_before),
    "the certificate has expired": Situation(made={"age": 11 * DAY, "lifetime": 10 * DAY}),
    "the certificate is about to expire": Situation(made={"age": timedelta(days=9, hours=20), "lifetime": 10 * DAY}),
    "the only set was refused in its probation": Situation(
        before=lambda here: here.end(make.finished(Phase.REJECTED, at=here.now, generation=1, failure=REFUSED)),
    ),
    # Changes.
    "a rotation was rejected": Situation(made={"age": DAY}, before=_rejected),
    "a rotation was rolled back": Situation(
        before=lambda here: here.end(make.finished(Phase.ROLLED_BACK, at=here.now, generation=2, failure=REFUSED)),
    ),
    "new anchors were rejected": Situation(
        before=lambda here: here.end(
            make.finished(Phase.REJECTED, at=here.now, kind=Kind.TRUST, generation=2, failure=REFUSED)
        ),
    ),
    "a person went back": Situation(
        before=lambda here: here.end(
            make.finished(
                Phase.ROLLED_BACK,
                at=here.now,
                generation=2,
                failure=make.failure(FailureClass.OPERATOR, Code.GIVEN_UP, decisive=True),
            )
        ),
    ),
    "a change in flight has trouble": Situation(
        before=lambda here: here.fly(make.record(planned_at=here.now, entered_at=here.now, failure=make.failure())),
    ),
    "a change in flight finds no set that is accepted": Situation(
        before=lambda here: here.fly(
            make.record(
                planned_at=here.now,
                entered_at=here.now,
                failure=make.failure(FailureClass.CREDENTIAL, Code.LOCKED_OUT),
            )
        ),
    ),
    "a retirement is refused": Situation(before=_left_behind, after=_refused_retirement),
    # Files.
    "the key is open to all": Situation(before=lambda here: (here.state / "current" / "key.pem").chmod(0o666)),
    "the state directory is open to all": Situation(before=lambda here: here.state.chmod(0o777)),
    "the claim's key is open to all": Situation(before=lambda here: (here.path / "claim.key").chmod(0o644)),
    "the key is another user's": Situation(before=lambda here: os.chown(here.state / "current" / "key.pem", 12345, -1)),
    "root alone may read a file that is configured": Situation(before=_roots_own),
    "there is no room for falling back": Situation(sees={"reserve": Standing.NO_ROOM}),
    "there is room for falling back alone": Situation(sees={"reserve": Standing.LAST}),
    "room for falling back was not set aside": Situation(sees={"reserve": Standing.MISSING}),
    # Anchors and other programs' files.
    "an anchor is about to expire": Situation(before=lambda here: setattr(here, "trust", ", warn: [9000d]")),
    "an anchor is distrusted": Situation(before=_distrusted, enrols=False),
    "the endpoint has moved to another root": Situation(before=_moved, enrols=False),
    "anchors of Amazon's are missing": Situation(before=_amazon),
    "a watched file is gone": Situation(before=_configured("watch: [{path: DIR/app.pem}]\n")),
    "a watched certificate is about to expire": Situation(
        before=_configured("watch: [{path: DIR/roots.pem, warn: 9000d}]\n")
    ),
    # Dependants.
    "copies are as they should be": Situation(before=_copied()),
    "a copy is gone": Situation(before=_copied(lambda here: _key(here).unlink())),
    "a copy is garbage": Situation(before=_copied(lambda here: _key(here).write_text("garbage"))),
    "a copy is empty": Situation(before=_copied(lambda here: _key(here).write_text(""))),
    "a copy is open to all": Situation(before=_copied(lambda here: _key(here).chmod(0o666))),
    "a copy is another user's": Situation(before=_copied(lambda here: os.chown(_key(here), 12345, 12345))),
    "dependants were not served this set": Situation(before=_copied(generation=9)),
    "a program does not use the set": Situation(before=_unit),
    "a gate cannot be run": Situation(before=_gate),
    # What the operator asks for.
    "the endpoint is not filled in": Situation(before=lambda here: setattr(here, "endpoint", "change-me.invalid")),
    "the client id may be shared": Situation(before=_configured('client_id: "{thing}"\n')),
    "the changed configuration is refused": Situation(after=_refused_configuration),
    "another key is configured": Situation(before=_configured("key: {algorithm: rsa-2048}\n")),
    "another subject is configured": Situation(before=_configured("key: {subject: CN=other}\n")),
    "another thing is configured": Situation(before=_configured("thing_name: gw-0043\n")),
    # The daemon.
    "no daemon runs": Situation(before=_gone),
    "the daemon does not answer": Situation(before=_silent),
    "the daemon cannot write its state": Situation(after=_unwritable),
    "there has been no connection for minutes": Situation(after=_down),
    "a look is over, and the next one is hours away": Situation(after=_resting),
    "another client has the client id": Situation(after=_taken_over),
    "the operator's command cannot be told": Situation(
        after=lambda here: here.daemon.report._news._notices._ended("/bin/tell failed.", Noticed())
    ),
    "the runtime directory is not as it should be": Situation(
        after=lambda here: here.daemon.report.runtime_kept(
            "The control socket /run/iot-cert-agent/control.sock cannot be made: No space left on device. Free some "
            "space or inodes on this file system."
        )
    ),
    "no set is accepted": Situation(
        after=lambda here: here.daemon.report._ladder.locked_out("no set is accepted", "Activate it.")
    ),
    "the clock shows a time that cannot be": Situation(
        after=lambda here: setattr(here.clock, "time", datetime(2001, 1, 1, tzinfo=UTC))
    ),
}

# What takes root to be made.
OF_OTHERS = frozenset({
    "the key is another user's", "a copy is another user's", "root alone may read a file that is configured",
    "a gate cannot be run",
})  # fmt: skip

# Where a teller says nothing, and why that is right.
_AT_ONCE = "it is told when it happens, with its own event: "
_CHANGES = _AT_ONCE + "tests/unit/daemon/work/test_results.py"
_NO_FAULT = "nothing is wrong"
SILENT: dict[str, dict[str, str]] = {
    "root alone may read a file that is configured": dict.fromkeys(
        ("status", "metrics", "shadow", "journal"), "the daemon meets it when it begins a change, and tells it then"
    ),
    **dict.fromkeys(
        (
            "all is as it should be",
            "copies are as they should be",
            "a person went back",
            "a look is over, and the next one is hours away",
        ),
        dict.fromkeys(("status", "check", "metrics", "shadow", "journal", "support bundle"), _NO_FAULT),
    ),
    "the endpoint has moved to another root": {"check": "nothing is wrong; its line of the anchors has the sentence"},
    "it has not enrolled": {"journal": "the enrolment is told as it is planned"},
    "a rotation was rejected": {"journal": _CHANGES},
    "a rotation was rolled back": {"journal": _CHANGES},
    "new anchors were rejected": {"journal": _CHANGES},
    "a change in flight has trouble": {"journal": _CHANGES},
    "a retirement is refused": {"journal": _AT_ONCE + "tests/unit/daemon/cloud/test_retirement.py"},
    **dict.fromkeys(
        ("no daemon runs", "the daemon does not answer"),
        dict.fromkeys(("metrics", "shadow", "journal"), "there is no daemon to tell; the files are gone or grow old"),
    ),
}
