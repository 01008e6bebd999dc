"""The doctor: looks at everything that a working gateway rests on, cause before effect, and says what is wrong first.

It changes nothing. Without root it looks at what it may and says what it could not look at. What it sees of the
network before anything is verified is evidence for `agent.core.report.checks` and nothing else. On a dead network it is
done in less than 20 seconds: each look has its own end, and what rests on a failed one is skipped.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.core.aws.endpoints import MQTT_PORT, chains_to_amazon, placeholder
from agent.core.exit_codes import Exit
from agent.core.failure import proxy_failures
from agent.core.failure.codes import traits
from agent.core.frozen import frozen
from agent.core.report import checks, notices
from agent.core.report.checks import Line, Server, failure, ok, skipped, warning
from agent.core.report.findings import judge
from agent.core.text import clock_time
from agent.core.timekeeping import ClockState
from agent.core.trust import anchor_lint
from agent.core.values import MAX_TEXT
from agent.crypto.root_lists import known
from agent.dependants.copy_looks import PUT_BACK
from agent.doctor import configuration, disk, looks, probes
from agent.errors import CloudError, MaterialError, RefusedError, StoreError
from agent.iotcore import path as way
from agent.iotcore import tls
from agent.operations import made_with, opening, snapshot
from agent.operations.owners_eyes import not_for_this_user
from agent.operations.wiring import PUT_ANCHORS_BACK, load_anchors
from agent.system import locks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime
    from pathlib import Path

    from agent.config.values import Config
    from agent.core.failure.failure import Failure
    from agent.core.report.known import Connection
    from agent.core.report.notices import Told
    from agent.core.timekeeping import Reading
    from agent.core.values import CertificateFacts, TrustBundle
    from agent.operations.snapshot import Snapshot

# What no look at this gateway alone can answer: whose clock is right the endpoint knows.
_OF_THE_NETWORK = frozenset({"clock", "endpoint", "dns", "tcp", "tls", "server", "connect", "permissions"})


@frozen
class DaemonWord:
    """What the daemon tells, or what is found in its place where none runs.

    Attributes:
        lines: Those of `connect`, `permissions` and `daemon` that it has something to say of.
        runs: Whether a daemon runs, or None where this user may not know.
        findings: What the status of the gateway tells by the daemon's word; None without it.
        connection: How its connection stands, if it says that.
    """

    lines: tuple[Line, ...] = ()
    runs: bool | None = False
    findings: tuple[Told, ...] | None = None
    connection: Connection | None = None


class Doctor:
    """One visit."""

    def __init__(self, path: Path, live: Callable[[Config, DaemonWord | None], DaemonWord]) -> None:
        """Prepare a visit.

        Args:
            path: The configuration file.
            live: Asks the daemon how it stands; takes, for what needs the key, how it stood.
        """
        self._path = path
        self._live = live
        self._lines: dict[str, Line] = {}
        self._snapshot: Snapshot | None = None
        self._clock: Reading
        self._denied = self._unverified = ""
        self._daemon = DaemonWord()
        self._findings: dict[str, list[Told]] = {}
        self._tell: Callable[[Line], None] = lambda _: None
        self._told = 0

    def visit(
        self, names: Collection[str] = checks.CHECKS, tell: Callable[[Line], None] = lambda _: None
    ) -> tuple[Line, ...]:
        """Look at what is asked for, and return a line for each check, in order.

        Args:
            names: The checks that are asked for; what only others rest on is not looked at.
            tell: Hears of each line, in order, as soon as it is certain.
        """
        self._tell = tell
        config, line = configuration.examine(self._path)
        self._note(line)
        if config is None:
            return self._in_order("the configuration cannot be used")
        self._look_at_store(config)
        self._ask_for_findings(config)
        self._judge_configuration(config)
        self._note(disk.examine(config, self._snapshot))
        self._note(self._files(config))
        self._in_order("", before="clock")
        if not _OF_THE_NETWORK.isdisjoint(names):
            server, told = self._look_at_network(config)
            self._judge_clock(server, told)
            self._judge_server(server, told)
        for line in (self._set(config), self._anchors(config), self._watched(config)):
            self._note(line)
        self._note(self._endpoint(config))
        self._note(checks.after_the_path(self._lines["set"], self._lines.values()))
        self._in_order("something before it has failed", before="connect")
        self._look_at_broker(config)
        self._note(self._dependants(config))
        return self._in_order("something before it has failed")

    def _note(self, line: Line) -> None:
        self._lines[line.check] = line

    def _in_order(self, why: str, before: str = "") -> tuple[Line, ...]:
        """Return a line for each check, or for those before one, and tell of those that were not told yet."""
        names = checks.CHECKS[: checks.CHECKS.index(before)] if before else checks.CHECKS
        for check in names[self._told :]:
            line = self._with_findings(self._lines.get(check) or skipped(check, why))
            self._note(line)
            self._tell(line)
        self._told = len(names)
        return tuple(self._lines[check] for check in names)

    def _with_findings(self, line: Line) -> Line:
        for finding in self._findings.get(line.check, ()):
            line = checks.with_finding(line, finding.code, finding.text, Exit(finding.severity))
        return line

    # -- this gateway ----------------------------------------------------------------------------------------------

    def _judge_configuration(self, config: Config) -> None:
        current = self._snapshot.current if self._snapshot else None
        differs = made_with.differs(config, current) if current else ()
        found = configuration.doubts(config, self._snapshot.thing if self._snapshot else "", differs)
        if found is not None and self._lines["configuration"].verdict is checks.Verdict.OK:
            self._note(found)

    def _look_at_store(self, config: Config) -> None:
        self._clock = opening.clock_of(config)
        try:
            self._snapshot = snapshot.take(config)
            self._clock = self._snapshot.clock
        except StoreError as error:
            self._denied = not_for_this_user(config, error) or error.in_full.rstrip(".")

    def _ask_for_findings(self, config: Config) -> None:
        """Learn what the status says of each check's subject, by the daemon's word where there is one."""
        self._daemon = self._live(config, None)
        findings = self._daemon.findings
        if findings is None and self._snapshot is not None:
            findings = notices.of_findings(judge(snapshot.status(config, self._snapshot)).findings, MAX_TEXT)
        for finding in findings or ():
            self._findings.setdefault(finding.check, []).append(finding)

    def _files(self, config: Config) -> Line:
        if not os.access(config.state_dir, os.F_OK) and self._snapshot:
            return ok("files", f"{config.state_dir} does not exist yet; the first enrolment makes it.")
        if looks.wrong_type(config.state_dir) is not None:
            return skipped("files", "the line about the disk says why")
        if not os.access(config.state_dir, os.R_OK | os.X_OK):
            return skipped("files", f"this user may not look into {config.state_dir}; run it with sudo")
        try:
            wrong = list(snapshot.exposed(config, enrolled=bool(self._snapshot and self._snapshot.current)))
        except OSError as error:
            return skipped("files", f"{error.filename}: {error.strerror}; run it with sudo")
        if wrong:
            more = f" And {len(wrong) - 1} more." if wrong[1:] else ""
            return failure("files", wrong[0].code, wrong[0].text + more, wrong[0].remedy)
        return ok("files", "Modes and owners are as they should be.")

    def _set(self, config: Config) -> Line:
        if self._snapshot is None:
            return skipped("set", self._denied)
        found, now = self._snapshot, self._snapshot.clock.now
        critical = [item.text for item in found.damage if item.critical]
        if critical:
            return failure("set", "damaged", _without_advice(max(critical)), snapshot.PUT_RIGHT, Exit.CRITICAL)
        if found.current is None:
            return looks.not_enrolled(config)
        leaf, number = found.current.credential.leaf, found.current.number
        name = f"Generation {number}: key and certificate belong together"
        if found.clock.believable and leaf.not_after <= now:
            text = f"The certificate of generation {number} expired at {clock_time(leaf.not_after)}."
            return failure("set", "certificate-expired", text, looks.way_back(config), Exit.CRITICAL)
        if found.damage:
            damage = _without_advice(max(item.text for item in found.damage))
            return warning("set", "damaged", damage, f"The current set is whole; {snapshot.PUT_RIGHT}")
        return ok("set", f"{name}, and it is valid until {leaf.not_after:%Y-%m-%d}.")

    def _anchors(self, config: Config) -> Line:
        try:
            trust = self._trust(config)
        except (MaterialError, RefusedError) as error:
            denied = not_for_this_user(config, error)
            if denied:
                return skipped("anchors", denied)
            enrolled = self._snapshot is None or self._snapshot.current is not None
            exit_code = Exit.DEGRADED if enrolled else Exit.CRITICAL
            text = f"{str(error).rstrip('.')}."
            return failure("anchors", "anchors-unusable", text, error.hint_or(PUT_ANCHORS_BACK), exit_code)
        believed = self._clock.now if self._clock.believable else None
        amazon = chains_to_amazon(config.endpoint)
        findings = anchor_lint.lint(
            anchor_lint.entries_of(trust.anchors), known(), believed, soon=config.trust.warn[0], amazon=amazon
        )
        telling = [item for item in findings if item.severity is not anchor_lint.Severity.INFORMATION]
        if not telling:
            number = len(trust.anchors)
            every = "The one trust anchor is" if number == 1 else f"All {number} trust anchors are"
            return ok("anchors", f"{every} in order.")
        first = telling[0]
        more = f" And {len(telling) - 1} more: `iot-cert trust check`." if telling[1:] else ""
        judge = failure if first.severity is anchor_lint.Severity.ERROR else warning
        return judge("anchors", first.code, f"{first.message}{more}", first.remedy)

    def _trust(self, config: Config) -> TrustBundle:
        current = self._snapshot.current if self._snapshot else None
        return current.trust if current else load_anchors(config)

    def _watched(self, config: Config) -> Line:
        now = self._clock.now if self._clock.believable else None
        if not config.watch:
            return ok("watched", "No further files are watched.")
        lines = [line for item in config.watch if (line := looks.of_watched(config, item, now)) is not None]
        told = [line for line in lines if line.verdict is not checks.Verdict.SKIPPED]
        number = len(config.watch)
        every = "The one watched file is" if number == 1 else f"All {number} watched files are"
        return next(iter((*told, *lines)), ok("watched", f"{every} in order."))

    def _dependants(self, config: Config) -> Line:
        found = snapshot.served(config)
        current = self._snapshot.current if self._snapshot else None
        if found is None:
            return ok("dependants", "No dependants are configured.")
        if current is None:
            return skipped("dependants", "there is no set that they could use")
        if found.problem:
            return skipped("dependants", found.problem.rstrip("."))
        problems = [step.problem for step in found.steps if step.problem]
        if problems:
            more = f" And {len(problems) - 1} more: `iot-cert status`." if problems[1:] else ""
            first = problems[0].removesuffix(f" {PUT_BACK}")
            tries = "When that is put right, `sudo iot-cert deploy` tries at once."
            return failure("dependants", "dependant", f"{first}{more}", tries if first == problems[0] else PUT_BACK)
        if found.generation != current.number or not found.steps:
            text = f"The dependants were not served generation {current.number} yet."
            remedy = "`sudo systemctl enable --now iot-cert-agent-deploy.socket`; then `sudo iot-cert deploy`."
            return warning("dependants", "dependants-unserved", text, remedy)
        number = len(found.steps)
        every = "The one dependant uses" if number == 1 else f"All {number} dependants use"
        return ok("dependants", f"{every} generation {current.number}.")

    # -- the network -----------------------------------------------------------------------------------------------

    def _judge_clock(self, server: Server | None, told: datetime | None) -> None:
        leaf = server.chain[0] if server and server.chain else None
        self._note(checks.of_clock(self._clock, leaf, told))

    def _judge_server(self, server: Server | None, told: datetime | None) -> None:
        """Judge who the server is, by a clock that the endpoint's own time has confirmed or by what it is."""
        if server is None or self._lines["tls"].verdict is checks.Verdict.FAILURE:
            return
        if self._unverified:
            self._note(skipped("server", self._unverified))
            return
        confirmed = told is not None and self._lines["clock"].verdict is checks.Verdict.OK
        clock = replace(self._clock, state=ClockState.SYNCHRONISED) if confirmed else self._clock
        self._note(checks.of_server(server, known(), clock))

    def _look_at_network(self, config: Config) -> tuple[Server | None, datetime | None]:
        if not (self._name(config) and self._port(config)):
            return None, None
        server = self._meet(config)
        self._note(checks.of_tls(server))
        out_of_date = server.refusal is not None and traits(server.refusal.code).blames_the_clock
        doubtful = out_of_date or self._clock.state is not ClockState.SYNCHRONISED
        return server, probes.date_of(config.target) if doubtful and server.chain else None

    def _endpoint(self, config: Config) -> Line:
        server = self._lines.get("server")
        verified = server is not None and server.verdict is not checks.Verdict.FAILURE
        return checks.of_endpoint(config.endpoint, verified=verified)

    def _name(self, config: Config) -> bool:
        if placeholder(config.endpoint):
            self._note(skipped("dns", "there is no endpoint yet"))
            return False
        host = config.proxy.host if config.proxy else config.endpoint
        try:
            addresses = probes.resolve(host)
        except CloudError as plain:
            error = CloudError(proxy_failures.proxy_not_found(host)) if config.proxy else plain
            self._note(failure("dns", "dns", str(error), error.hint, Exit.UNAVAILABLE))
            return False
        self._note(ok("dns", f"{host} is {', '.join(addresses[:3])}."))
        return True

    def _port(self, config: Config) -> bool:
        target = replace(config.target, timeout=probes.PATIENCE)
        try:
            way.connect(target).close()
        except CloudError as error:
            open_443 = target.port == MQTT_PORT and probes.reaches(target, probes.HTTPS_PORT)
            remedy = "Port 443 is open: set `port: 443`, which negotiates MQTT with ALPN." if open_443 else error.hint
            self._note(failure("tcp", "port-blocked" if open_443 else error.failure.code, str(error), remedy,
                               Exit.UNAVAILABLE))  # fmt: skip
            return False
        text = f"{target.host} takes connections on port {target.port}."
        if target.proxy:
            text = f"The proxy {target.proxy.address} opens a way to {target.host}, port {target.port}."
        self._note(ok("tcp", text))
        return True

    def _meet(self, config: Config) -> Server:
        """Shake hands with the server, verifying it, and look at what it shows either way."""
        look = probes.look(config.target)
        refusal, shaken = self._verify(config)
        anchors, elsewhere = self._anchors_known(config)
        chain = list(looks.facts_of(look.chain))
        if shaken is not None:  # what was shown may go on beyond the anchor that verified it
            chain += [anchor for anchor in anchors if anchor.sha256 == shaken.anchor]
        return Server(
            host=config.endpoint,
            refusal=refusal,
            chain=tuple(chain),
            names=looks.names_of(look.chain),
            anchors=anchors,
            elsewhere=elsewhere,
            version=shaken.version if shaken else look.version,
            takes=tuple(looks.versions_of(config, look, refusal)),
        )

    def _verify(self, config: Config) -> tuple[Failure | None, tls.Handshake | None]:
        try:
            target = replace(config.target, timeout=probes.PATIENCE)
            return None, tls.preflight(target, self._trust(config))
        except CloudError as error:
            return error.failure, None
        except (MaterialError, RefusedError) as error:
            self._unverified = not_for_this_user(config, error)
            return tls.no_anchors(config.endpoint, str(error)), None

    def _anchors_known(
        self, config: Config
    ) -> tuple[tuple[CertificateFacts, ...], dict[str, tuple[CertificateFacts, ...]]]:
        elsewhere = {}
        with suppress(MaterialError):
            elsewhere["the copy of the package or OS image"] = load_anchors(config).anchors
        if self._snapshot and self._snapshot.previous:
            elsewhere[f"generation {self._snapshot.previous.number}"] = self._snapshot.previous.trust.anchors
        with suppress(MaterialError, RefusedError):
            return self._trust(config).anchors, elsewhere
        return (), elsewhere

    # -- the broker ------------------------------------------------------------------------------------------------

    def _look_at_broker(self, config: Config) -> None:
        ready = self._lines.get("server")
        verified = ready is not None and ready.verdict not in {checks.Verdict.FAILURE, checks.Verdict.SKIPPED}
        has_set = self._lines["set"].verdict is not checks.Verdict.FAILURE  # or this user may not know
        told, runs = self._daemon, self._daemon.runs
        if verified and has_set and not any(line.check == "daemon" for line in told.lines):  # one that answers
            told = self._live(config, told)
        for line in told.lines:
            self._note(line)
        if "daemon" in self._lines:
            return
        remedy = "`sudo systemctl start iot-cert-agent`; `journalctl -u iot-cert-agent` says why it ended."
        other = None if runs else locks.held(config.state_dir / locks.DAEMON)
        if other is not None:
            text = f"A daemon{other.who} works on {config.state_dir} with another runtime_dir."
            self._note(failure("daemon", "other-daemon", text, "Stop it, or use the configuration that it runs with."))
        elif runs is None:
            self._note(skipped("daemon", "this user may not talk to it; run it with sudo"))
        elif runs:
            self._note(ok("daemon", "The daemon runs."))
        else:
            text = "No daemon runs, so nothing is renewed by itself."
            self._note(failure("daemon", "no-daemon", text, remedy))


def _without_advice(damage: str) -> str:
    """Return what is damaged, as the status has it, without what to do, which the line's remedy says."""
    return damage.replace(f"; {snapshot.PUT_RIGHT}", ".")
