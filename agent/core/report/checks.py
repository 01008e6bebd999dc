"""The doctor's judgement: what was seen of a gateway, and the one line about it that names the cause and the remedy.

Rules:

* The lines come in the order of cause before effect, so that the first failure is the reason of the later ones.
* A line is ok, a warning, a failure, or says what could not be looked at and why.
* A broken clock, a stranger in between and a missing root are told apart by evidence that was gathered without trust.
"""

from __future__ import annotations

from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.core.aws.endpoints import (
    FIND_ENDPOINT,
    EndpointKind,
    chains_to_amazon,
    classify,
    may_be_new,
    misspelling,
    placeholder,
)
from agent.core.exit_codes import Exit
from agent.core.failure.codes import Code
from agent.core.failure.failure import FailureClass
from agent.core.frozen import frozen
from agent.core.text import clock_time, common_name, duration
from agent.core.timekeeping import ClockState
from agent.core.trust import anchor_lint
from agent.core.values import Id, LongText  # noqa: TC001 - the decoder reads the types of `Line`

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.core.failure.failure import Failure
    from agent.core.timekeeping import Reading
    from agent.core.values import CertificateFacts

# In the order of cause before effect.
CHECKS = (
    "configuration", "disk", "files", "clock", "set", "anchors", "watched", "endpoint", "dns", "tcp", "tls", "server",
    "connect", "permissions", "daemon", "dependants",
)  # fmt: skip

CLOCK_TOLERANCE, NETWORK = timedelta(minutes=5), Exit.UNAVAILABLE


class Verdict(StrEnum):
    """What a check comes to."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"


@frozen
class Line:
    """What one check came to.

    Attributes:
        check: Its name, of `CHECKS`.
        verdict: What it came to.
        code: A short stable name for machines; ``ok`` when there is nothing to say.
        text: A sentence.
        remedy: What to do, or empty.
        exit: The exit code that it stands for.
    """

    check: Id
    verdict: Verdict
    code: Id
    text: LongText
    remedy: LongText = ""
    exit: Exit = Exit.DONE


def ok(check: str, text: str) -> Line:
    """Return the line of a check that found nothing wrong."""
    return Line(check=check, verdict=Verdict.OK, code="ok", text=text)


def skipped(check: str, why: str) -> Line:
    """Return the line of a check that could not be made."""
    return Line(check=check, verdict=Verdict.SKIPPED, code="not-looked-at", text=f"Skipped: {why}.")


def warning(check: str, code: str, text: str, remedy: str = "") -> Line:
    """Return a line about what needs attention."""
    return Line(check=check, verdict=Verdict.WARNING, code=code, text=text, remedy=remedy, exit=Exit.DEGRADED)


def failure(check: str, code: str, text: str, remedy: str, code_out: Exit = Exit.DEGRADED) -> Line:
    """Return a line about what keeps the gateway from working."""
    return Line(check=check, verdict=Verdict.FAILURE, code=code, text=text, remedy=remedy, exit=code_out)


# What a check finds out by itself, under other names.
_SEEN = frozenset({"not-enrolled", "exposed", "anchor-expiring", "anchor-distrusted", "clock-wrong", "clock-ahead"})

SET_IT = "Set it: `timedatectl set-ntp true`, or `timedatectl set-time`; then look again."
GO_ON_WITHOUT = "Until that is put right, changes go on without it."
_SAY_IT_THEMSELVES = (
    "configuration other-thing", "endpoint no-endpoint", "set damaged", "set refused", "set retirement-refused",
    "disk no-space", "disk no-reserve", "connect locked-out", "daemon runtime-directory",
    "dependants dependants-unserved",
)  # fmt: skip

# What to do about a finding, by its check and code.
_REMEDIES = {
    **dict.fromkeys(_SAY_IT_THEMSELVES, ""),
    "configuration gate-unasked": GO_ON_WITHOUT,
    "configuration configuration-refused": "`iot-cert config check`, then `sudo systemctl reload iot-cert-agent`.",
    "set certificate-expiring": "`iot-cert rotate` replaces it at once.",
    "set change-failed": "`iot-cert explain` says when the next one begins; `iot-cert rotate` begins it at once.",
    "anchors change-failed": "The anchors of before are in use. Install a bundle with the endpoint's root.",
    "disk unusable": "Put right what it names; the daemon tries again by itself.",
    **dict.fromkeys(("clock clock-wrong", "clock clock-ahead"), SET_IT),
    "connect no-connection": "The daemon goes on trying by itself; `journalctl -u iot-cert-agent` says what it meets.",
    "connect taken-over": "Give the other client an id of its own; a copy of this gateway's disk has to enrol anew.",
    "daemon notices-failing": "Run `notices.command` by hand, as the agent's user.",
}


def with_finding(line: Line, code: str, text: str, severity: Exit) -> Line:
    """Return the line of a check that also knows what the status says of its subject.

    A line that tells of something else keeps its code and its remedy, and the finding stands beside its own words. One
    that tells of the same is a failure where that is critical; of one that has to enrol, only the path's line may be.
    """
    fine = line.verdict in {Verdict.OK, Verdict.SKIPPED}
    if line.verdict is not Verdict.OK and (severity is Exit.DONE or code in {line.code, *_SEEN}):
        worse = line.verdict is Verdict.WARNING and severity is Exit.CRITICAL and code != "not-enrolled"
        return replace(line, verdict=Verdict.FAILURE, exit=severity) if worse else line
    if severity is Exit.DONE:
        return replace(line, text=f"{line.text} {text}")
    exit_code = severity if fine or severity is Exit.CRITICAL else line.exit
    verdict = Verdict.FAILURE if Exit.CRITICAL in {severity, line.exit} else Verdict.WARNING
    if fine:
        more = "`iot-cert explain` says what is done about it, `iot-cert history` what was."
        remedy = "" if "`sudo systemctl restart " in text else _REMEDIES.get(f"{line.check} {code}", more)
        return Line(check=line.check, verdict=verdict, code=code, text=text, remedy=remedy, exit=exit_code)
    verdict = Verdict.FAILURE if line.verdict is Verdict.FAILURE else verdict
    return replace(line, verdict=verdict, text=f"{line.text} {text}", exit=exit_code)


def exit_of(lines: Iterable[Line]) -> Exit:
    """Return the exit code of it all: of the first failure, the cause, or of what is critical if that is degraded."""
    lines = tuple(lines)
    failed = next((line.exit for line in lines if line.verdict is Verdict.FAILURE), Exit.DONE)
    critical = failed <= Exit.DEGRADED and any(line.exit is Exit.CRITICAL for line in lines)
    return Exit.CRITICAL if critical else failed or max((line.exit for line in lines), default=Exit.DONE)


# -- the clock -----------------------------------------------------------------------------------------------------


def of_clock(reading: Reading, leaf: CertificateFacts | None, told: datetime | None) -> Line:
    """Judge the clock, by how much it is wrong where anything tells.

    Args:
        reading: The clock.
        leaf: The server's certificate, verified or not.
        told: The time by the endpoint's web server.
    """
    now, shown = reading.now, f"The clock shows {clock_time(reading.now)}"
    off = None if told is None else told - now
    if off is not None and abs(off) > CLOCK_TOLERANCE:
        return failure("clock", "clock-wrong", f"{shown}; by the endpoint's own time it is {_direction(off)}.", SET_IT)
    if not reading.believable:
        text = f"{shown}, which cannot be: it was certainly later than {clock_time(reading.floor)} already."
        return failure("clock", "clock-wrong", text, SET_IT)
    if reading.state is ClockState.SYNCHRONISED or off is not None:
        return ok("clock", f"{shown} and is {reading.state}.")
    gap = None if leaf is None else _outside(leaf, now)
    if gap:
        text = f"{shown} and is not synchronised; by the server's certificate it is at least {_direction(gap)}."
        return failure("clock", "clock-wrong", text, SET_IT)
    text = f"{shown} and is not synchronised."
    remedy = "Enable time synchronisation, or set `vouched_clock: true` where the time comes from elsewhere."
    return warning("clock", "clock-unsynchronised", text, remedy)


def _outside(leaf: CertificateFacts, now: datetime) -> timedelta | None:
    """Return how far the clock is outside the server certificate's life, or None."""
    if now < leaf.not_before:
        return leaf.not_before - now
    return leaf.not_after - now if now > leaf.not_after else None


def _direction(off: timedelta) -> str:
    return f"{duration(abs(off))} {'behind' if off > timedelta() else 'ahead'}"


UNENROLLED = "This gateway has no certificate yet"


def after_the_path(unenrolled: Line, lines: Iterable[Line]) -> Line:
    """Return the line of a gateway that only has to enrol, behind what keeps it from doing so.

    Args:
        unenrolled: The line about the set.
        lines: All lines.
    """
    first = next((line.check for line in lines if line.check in _PATH and line.verdict is Verdict.FAILURE), "")
    if not unenrolled.text.startswith(f"{UNENROLLED}; ") or not first:
        return unenrolled
    return warning("set", unenrolled.code, f"{UNENROLLED}, and cannot get one: see {first}.", "")


_PATH = ("endpoint", "dns", "tcp", "tls", "server")


# -- the endpoint --------------------------------------------------------------------------------------------------


def of_endpoint(host: str, *, verified: bool = False) -> Line:
    """Judge the endpoint by its name, and by what a connection has proven of it.

    Args:
        host: The name.
        verified: Whether the server that answers under it is verified now: then it is spelt right, known or not.
    """
    name = classify(host)
    if name.kind is EndpointKind.LEGACY:
        text = f"{host} is the legacy endpoint, whose chain ends in a VeriSign root that root stores no longer trust."
        return failure("endpoint", "legacy-endpoint", text, f"Set `endpoint: {name.instead}`.", Exit.USAGE)
    empty = placeholder(host)
    if empty:
        return failure("endpoint", "no-endpoint", empty, FIND_ENDPOINT, Exit.USAGE)
    wrong = misspelling(host)
    if wrong and verified:
        text = f"{host} has a form or a region that this version does not know; its server is verified, so it is right."
        return ok("endpoint", text)
    if wrong and may_be_new(host):
        text = f"{wrong} It has the form of one, and may be newer: a connection proves it."
        return warning("endpoint", "region-unknown", text, FIND_ENDPOINT)
    if wrong:
        return failure("endpoint", "misspelt-endpoint", wrong, FIND_ENDPOINT, Exit.USAGE)
    texts = {
        EndpointKind.ATS: "an ATS endpoint of AWS IoT Core",
        EndpointKind.FIPS: "a FIPS endpoint of AWS IoT Core",
        EndpointKind.DUAL_STACK: "a dual-stack endpoint of AWS IoT Core",
        EndpointKind.CUSTOM: "a custom domain, which must chain to one of the anchors in use",
    }
    return ok("endpoint", f"{host} is {texts[name.kind]}.")


# -- the server ----------------------------------------------------------------------------------------------------


@frozen
class Server:
    """What is known of the server that answers.

    Attributes:
        host: The endpoint's name.
        refusal: Why it is not trusted, or None when it is verified.
        chain: What it showed, its own certificate first.
        names: The names in its certificate.
        anchors: The anchors in use.
        elsewhere: Other anchors on this gateway, by a name for people.
        version: The TLS version agreed on.
        takes: Which versions it takes at all, as far as they were tried.
    """

    host: str
    refusal: Failure | None = None
    chain: tuple[CertificateFacts, ...] = ()
    names: tuple[str, ...] = ()
    anchors: tuple[CertificateFacts, ...] = ()
    elsewhere: Mapping[str, tuple[CertificateFacts, ...]] = field(default_factory=dict)
    version: str = ""
    takes: tuple[str, ...] = ()


def of_tls(server: Server) -> Line:
    """Judge whether gateway and server have a TLS version in common, and whom it leaves out."""
    old = [version for version in server.takes if version in {"TLSv1", "TLSv1.1"}]
    if server.refusal is not None and server.refusal.code == Code.TLS_VERSION and old:
        text = f"The server speaks nothing newer than {_version(old[-1])}, and this gateway needs TLS 1.2."
        return failure("tls", "tls-too-old", text, "Have TLS 1.2 enabled at the endpoint.")
    if server.refusal is not None and server.refusal.code == Code.TLS_VERSION:
        return failure("tls", "tls-version", server.refusal.message, "Check the endpoint's security policy.")
    if server.refusal is not None and server.refusal.kind is FailureClass.NETWORK:
        return failure("tls", server.refusal.code, server.refusal.message, server.refusal.remedy, NETWORK)
    if server.takes == ("TLSv1.3",):
        text = "The server takes TLS 1.3 only; a program on this gateway that speaks TLS 1.2 at most cannot connect."
        return warning("tls", "tls-1.3-only", text, "Update that program, or choose a security policy with TLS 1.2.")
    return ok("tls", f"{_version(server.version) if server.version else 'TLS'} is agreed on.")


def _version(name: str) -> str:
    return {"TLSv1": "TLS 1.0"}.get(name, name.replace("TLSv", "TLS "))


def of_server(server: Server, known: anchor_lint.KnownRoots, reading: Reading) -> Line:
    """Judge who the server is, and why it is not trusted if it is not."""
    refusal = server.refusal
    if refusal is None:
        return _trusted(server, known)
    match refusal.code:
        case "wrong-host":
            shown = ", ".join(server.names[:5]) or "no name at all"
            text = f"The server's certificate is for {shown}, and not for {server.host}."
            remedy = "Check the spelling of `endpoint`; a captive portal or a TLS-intercepting proxy causes this, too."
            return failure("server", "wrong-host", text, remedy)
        case "server-certificate-expired" | "server-certificate-not-yet-valid":
            return _out_of_date(server, reading)
        case "unknown-root":
            return _unknown_root(server, known, reading)
        case _:
            return failure("server", refusal.code, refusal.message, refusal.remedy)


def _trusted(server: Server, known: anchor_lint.KnownRoots) -> Line:
    anchor = server.chain[-1] if server.chain else None
    name = common_name(anchor.subject) if anchor else "one of the anchors in use"
    why = known.distrust_of(anchor) if anchor else ""
    if why:
        text = f"The server is verified, but its chain ends in {name}, which is distrusted: {why}."
        return warning("server", "distrusted-root", text, _legacy_remedy(server.host))
    return ok("server", f"The server is verified; its chain ends in {name}.")


def _out_of_date(server: Server, reading: Reading) -> Line:
    if not reading.believable or reading.state is not ClockState.SYNCHRONISED:
        text = f"By the clock, which is not synchronised, {server.host}'s certificate is not valid now."
        return failure("server", "clock-wrong", text, "Set the clock first; see the line about it.")
    for facts in server.chain:
        if facts.not_after < reading.now:
            text = f"The server's certificate {common_name(facts.subject)} expired at {clock_time(facts.not_after)}."
            return failure("server", "server-expired", text, "The endpoint's owner must renew it.")
    expired = _held(server, reading)
    if expired is not None:
        return expired
    text = f"The certificate that {server.host} shows is not valid yet."
    return failure("server", "server-not-yet-valid", text, "The endpoint's owner must act.")


def _held(server: Server, reading: Reading) -> Line | None:
    """Return the line about an anchor of ours that would verify the server had it not expired."""
    wanted = {facts.issuer for facts in server.chain} | {facts.subject for facts in server.chain}
    for anchor in server.anchors:
        if anchor.subject in wanted and anchor.not_after < reading.now:
            name = common_name(anchor.subject)
            text = f"The server's chain ends in {name}, and the copy among the anchors expired on"
            remedy = "Bring its successor: `iot-cert trust install`, `iot-cert trust restore` or `iot-cert import`."
            return failure("server", "anchor-expired", f"{text} {anchor.not_after:%Y-%m-%d}.", remedy)
    return None


def _unknown_root(server: Server, known: anchor_lint.KnownRoots, reading: Reading) -> Line:
    expired = _held(server, reading)
    if expired is not None:
        return expired
    if not server.chain:
        return failure("server", "unknown-root", f"{server.host} showed no certificate to look at.", _NO_CHAIN)
    root = server.chain[-1].issuer
    name = common_name(root)
    why = _distrust(server.chain[-1], known)
    if why:
        text = f"The server's chain ends in {name}, which is distrusted: {why}."
        return failure("server", "distrusted-root", text, _legacy_remedy(server.host))
    for where, anchors in server.elsewhere.items():
        if any(anchor.subject == root for anchor in anchors):
            text = f"The server's chain ends in {name}, which the anchors in use lack and {where} has."
            return failure("server", "anchor-missing", text, "Put it back: `iot-cert trust restore`, or a new bundle.")
    if chains_to_amazon(server.host) and anchor_lint.organisation(root) not in _AMAZON:
        shown = (anchor_lint.organisation(root) or name).rstrip(".")
        text = f"TLS to {server.host} is intercepted: its certificate was issued by {shown}."
        remedy = "Log in at a captive portal, or have the proxy let this host through unopened."
        return failure("server", "intercepted", text, remedy)
    text = f"The server's chain ends in {name}, which is not among the anchors in use."
    return failure("server", "unknown-root", text, _INSTALL)


_NO_CHAIN = "Check `endpoint` and `port`, and what is in between: an endpoint of AWS IoT Core shows one."
_INSTALL = (
    "Bring that root if it is the endpoint's own, and not that of a proxy in between: `iot-cert trust install` "
    "(signed) or `iot-cert import`; never connect unverified."
)
_AMAZON = frozenset({"Amazon", "Starfield Technologies, Inc.", "Starfield Technologies\\, Inc."})


def _distrust(top: CertificateFacts, known: anchor_lint.KnownRoots) -> str:
    """Return why the root above a chain is distrusted; it need not be sent, so its name has to do."""
    by_name = {root.name: root.why for root in known.distrusted}
    by_owner = known.organisations.get(anchor_lint.organisation(top.issuer), "")
    return known.distrust_of(top) or by_name.get(common_name(top.issuer), "") or by_owner


def _legacy_remedy(host: str) -> str:
    ats = classify(host).instead
    if ats:
        return f"This is the legacy endpoint; set `endpoint: {ats}`."
    return "Have the endpoint moved to a chain that ends in one of Amazon's roots; on AWS that is the ATS endpoint."
