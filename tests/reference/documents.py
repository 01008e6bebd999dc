"""The JSON that each verb prints with `--json`, as JSON Schema: what is composed in the code is composed here likewise.

Where a value has a type, its schema is made of that. A test holds the real output of each verb to the schema, and
lets no key through that is not in it; a reader takes further ones, since later versions may add some.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agent.core.change.lifecycle import ChangeRecord
from agent.core.change.progress import Progress
from agent.core.dependants import Report, Served, Step
from agent.core.exit_codes import Exit
from agent.core.report import known
from agent.core.report.checks import Line
from agent.core.report.document import ANCHORS
from agent.core.report.findings import Finding
from agent.core.report.seen import OnDisk, SetInUse, WatchedFile
from agent.core.report.status import Retiring
from agent.core.timekeeping import Reading
from agent.core.trust.anchor_lint import AnchorFinding
from agent.core.values import CertificateFacts, Provenance
from agent.core.when.renewal import RenewalWindow
from agent.core.when.schedule import Pause, Plan
from reference import cloud_documents
from reference.shapes import Schema, an_object, described, many, of, of_type, or_null, ref, said, words

TEXT, NUMBER, FLAG = of_type(str), of_type(int), of_type(bool)
AT, EXIT = of_type(datetime), {**words(Exit), "description": "The exit code of the command."}
TEXTS: Schema = {"type": "array", "items": TEXT}


def event(name: str, properties: dict[str, Schema], *, needed: list[str] | None = None) -> Schema:
    """Return the schema of a line that says what it is."""
    needed = list(properties) if needed is None else needed
    return an_object({"event": {"const": name}, **properties}, needed=["event", *needed])


def pick(kind: type, *names: str, **others: Schema) -> Schema:
    """Return the schema of an object with some fields of a dataclass, all of which are there, and others."""
    whole = of(kind)["properties"]
    told = {name: whole[name] for name in names}
    return an_object({**told, **others})


def _words_of(kind: type, name: str, schema: Schema) -> Schema:
    return said(schema, described(kind)[name])


SERVED = an_object(
    {
        "generation": or_null(_words_of(Served, "generation", NUMBER)),
        "steps": many(pick(Step, "name", "problem")),
        "problem": _words_of(Served, "problem", TEXT),
    }
)
ANCHORS_USED = {
    "anchor_in_use": said(TEXT, "SHA-256 of the anchor that the endpoint chained to last; empty when it is not known."),
    "anchor_seen_at": or_null(said(AT, "When that was.")),
    "anchors_left": said(TEXTS, "SHA-256 of the anchors that it chained to before, and has moved away from."),
}
CURRENT = pick(
    SetInUse, "generation", "kind", "thing_name", "created_at",
    certificate=ref("certificate"),
    anchors=many(ref("certificate")),
    **ANCHORS_USED,
    trust=or_null(said(of(Provenance), described(SetInUse)["trust"])),
    splay=_words_of(SetInUse, "splay", of_type(float)),
    renewal=an_object({"at": said(AT, "When it is replaced."), **of(RenewalWindow)["properties"]}),
)  # fmt: skip
ON_DISK = an_object(
    {
        "generation": _words_of(OnDisk, "generation", NUMBER),
        "certificate_id": or_null(said(TEXT, "Its certificate; null where it is damaged.")),
        "not_after": or_null(_words_of(OnDisk, "not_after", AT)),
    }
)
CONNECTION = an_object(
    {
        "state": said(words(known.ConnectionState), "How the daemon's connection stands."),
        "why": _words_of(known.Connection, "why", TEXT),
        "since": or_null(_words_of(known.Connection, "since", AT)),
        "rival": _words_of(known.Connection, "rival", TEXT),
        "next_try": or_null(_words_of(known.Connection, "next_try", AT)),
    }
)
FINDING = an_object(
    {
        "check": _words_of(Finding, "check", TEXT),
        "code": _words_of(Finding, "code", TEXT),
        "severity": said(words(Exit), "What it does to the exit code."),
        "text": _words_of(Finding, "text", TEXT),
    }
)
NEXT = an_object(
    {
        "why": said(TEXT, "A sentence."),
        "code": said(TEXT, "`step`, or what is waited for."),
        "until": AT,
    },
    needed=["why", "code"],
)

_LIVE: dict[str, Schema] = {
    "connection": said(CONNECTION, "The daemon's connection."),
    "stuck": _words_of(known.Live, "stuck", TEXT),
    "unseen": _words_of(known.Live, "unseen", TEXT),
    "configuration_refused": _words_of(known.Live, "configuration_refused", TEXT),
    "untold": _words_of(known.Live, "untold", TEXT),
    "runtime": _words_of(known.Live, "runtime", TEXT),
    "daemon": said(NUMBER, "The daemon's process."),
}
_STATUS: dict[str, Schema] = {
    "version": said(TEXT, "The agent's version."),
    "config": said(TEXT, "The configuration file."),
    "endpoint": said(TEXT, "The endpoint's name."),
    "port": said(NUMBER, "Its port."),
    "thing_name": or_null(said(TEXT, "The name of the thing that the configuration gives, if it gives one.")),
    "clock": said(of(Reading), "One look at the clock."),
    "current": or_null(said(CURRENT, "The set in use.")),
    "previous": or_null(said(NUMBER, "The generation to go back to.")),
    "generations": said(many(ON_DISK), "The generations on disk."),
    "change": said(or_null(ref("change")), "The change in flight."),
    "next": or_null(said(NEXT, "What the change in flight does next.")),
    "last": said(or_null(ref("change")), "The change that ended last."),
    "damage": said(
        many({"type": "array", "prefixItems": [EXIT, TEXT]}), "What is damaged on disk: an exit code and a sentence."
    ),
    "warnings": said(TEXTS, "What speaks against the configuration, a sentence each."),
    "reserve": said(TEXT, "Whether room for falling back is set aside."),
    "warn_anchors": said(many(of_type(float)), "How long before an anchor's end it is warned of, in seconds."),
    "watched": said(many(of(WatchedFile)), "Further files whose certificates are watched."),
    "dependants": or_null(said(SERVED, "How the gateway's other programs stand.")),
    "plan": said(of(Plan), "What is planned."),
    "pause": or_null(said(of(Pause), "The pause, if there is one.")),
    "inhibited_by": or_null(said(TEXT, "The inhibit file, while it is there.")),
    "retirements": said(
        many(pick(Retiring, "change", "certificate_id", "due", "waits_for", "refused", "unanswered")),
        "The certificates that are still to be retired.",
    ),
    "not_asked_for": said(NUMBER, "How many certificates were left behind whose retirement is not asked for."),
    "health": said(TEXTS, "What needs attention, a sentence each; `ok` alone where nothing does."),
    "findings": said(many(FINDING), "The same for programs."),
    "exit": EXIT,
}

ANCHOR_FINDINGS = said(many(of(AnchorFinding)), "What is to be said about the certificates.")
DIFFERENCE = many(an_object({"name": TEXT, "sha256": TEXT, "not_after": AT}))

DEFS: dict[str, Schema] = {
    "certificate": said(of(CertificateFacts), "What one X.509 certificate says."),
    "change": said(of(ChangeRecord, without=("issued",)), "One change: in flight, or finished."),
    "progress": said(
        event("progress", of(Progress)["properties"], needed=["at", "code", "text"]), "A step of a change."
    ),
    "note": said(event("note", {"message": TEXT}), "What is no result, and what a person should know of it."),
    "error": said(
        event("error", {"message": TEXT, "hint": said(TEXT, "What to do, or empty."), "exit": EXIT}),
        "Why the command was not carried out.",
    ),
    "bundle": said(
        event(
            "bundle",
            {
                "outcome": said(TEXT, "`in-progress`, `installed`, `unchanged`, `refused`, `rolled-back`, `given-up`."),
                "change": said(TEXT, "The change that the anchors became."),
                "generation": said(NUMBER, "The generation that it makes."),
                "phase": said(TEXT, "How far the change has come."),
                "class": said(TEXT, "The class of a failure."),
                "code": said(TEXT, "A short stable name of it."),
                "message": TEXT,
                "remedy": TEXT,
                "at": AT,
                "version": said(NUMBER, "The bundle's version."),
                "added": said(DIFFERENCE, "Anchors that are new."),
                "removed": said(DIFFERENCE, "Anchors that are in use and not among them."),
                "warnings": TEXTS,
                "exit": EXIT,
            },
            needed=[],
        ),
        "What was read, and how it differs from what is in use.",
    ),
    "begun": said(
        event("begun", {"change": TEXT, "exit": EXIT}, needed=["change"]),
        "With `--no-wait`: the daemon goes on.",
    ),
    "nothing": said(
        event("nothing", {"text": TEXT, "exit": EXIT}), "There was nothing to do, or there is nothing to be told."
    ),
    "rehearsal": said(event("rehearsal", {"text": TEXT, "exit": EXIT}), "With `--dry-run`: what a rotation would do."),
    "outcome": said(
        event(
            "outcome",
            {
                "change": said(or_null(ref("change")), "The change; null where none was made."),
                "wait": said(
                    or_null(an_object({"code": said(TEXT, "What is waited for."), "until": AT})),
                    "What it waits for; null once it has ended.",
                ),
                "current": or_null(said(NUMBER, "The generation in use.")),
                "postponed": said(FLAG, "Whether what was ordered is begun only once this change has ended."),
                "repeated": said(FLAG, "Whether it was carried out before, and its end is told now."),
                "why": said(TEXT, "Why nothing was changed, or no set is accepted."),
                "remedy": said(TEXT, "What helps."),
                "exit": EXIT,
            },
            needed=["change", "exit"],
        ),
        "How it ended, or what it waits for.",
    ),
    "status": said(
        an_object({**_STATUS, **_LIVE}, needed=list(_STATUS)),
        "How the gateway stands; what only a daemon knows is there while one runs. `status.json` is the same.",
    ),
    "explain": said(event("explain", {"why": TEXTS, "plan": of(Plan), "exit": EXIT}), "Why nothing is rotated now."),
    "line": said(event("line", of(Line)["properties"], needed=of(Line)["required"]), "What one check came to."),
    "check": said(
        event("check", {"cause": or_null(said(TEXT, "The first check that failed.")), "exit": EXIT}),
        "All together.",
    ),
    "paused": said(event("paused", {"exit": EXIT}), "Scheduled changes are held."),
    "resumed": said(event("resumed", {"exit": EXIT}), "They are not held any more."),
    "retired": said(event("retired", {"exit": EXIT}), "No certificate is left to be retired."),
    "dropped": said(event("dropped", {"text": TEXT, "exit": EXIT}), "One is not asked for any more."),
    "dependants": said(
        event("dependants", of(Report)["properties"], needed=[]), "How the gateway's other programs stand with the set."
    ),
    "config-check": said(
        an_object({"config": TEXT, "warnings": TEXTS, "handed_over": TEXTS, "exit": EXIT}),
        "It is sound.",
    ),
    "config-hand-over": said(
        an_object({"handed_over": said(TEXTS, "The files whose values were handed over."), "exit": EXIT}), "It is done."
    ),
    "trust": said(
        event(
            "trust",
            {
                "generation": or_null(NUMBER),
                "anchors": or_null(many(ref("certificate"))),
                **{key: or_null(schema) for key, schema in ANCHORS_USED.items()},
                "trust": or_null(said(of(Provenance), "Where the anchors came from.")),
                "findings": ANCHOR_FINDINGS,
                "exit": EXIT,
            },
            needed=[*ANCHORS, "exit"],
        ),
        "The anchors in use.",
    ),
    "store": said(
        an_object({"store": TEXT, "usable": NUMBER, "findings": ANCHOR_FINDINGS, "exit": EXIT}), "One store of anchors."
    ),
    "published": said(
        event("published", {"versions": {"type": "object", "additionalProperties": NUMBER}, "exit": EXIT}),
        "The version of each signed role.",
    ),
    "support-bundle": said(
        event(
            "support-bundle",
            {"file": TEXT, "missing": {"type": "object", "additionalProperties": TEXT}, "exit": EXIT},
        ),
        "The archive that was written, and what could not be had for it.",
    ),
    "report": said(
        event("report", {"file": TEXT, "missing": {"type": "object", "additionalProperties": TEXT}, "exit": EXIT}),
        "The page that was written, and what could not be had for it.",
    ),
    "sandbox": said(an_object({"config": TEXT, "port": NUMBER, "alpn_port": NUMBER}), "A sandbox runs."),
    "answer": said(an_object({"answer": TEXT}), "What the sandbox says to an order."),
    **cloud_documents.DEFS,
}

_CHANGE = ("progress", "note", "begun", "nothing", "outcome", "error")
VERBS: dict[str, tuple[str, ...]] = {
    "enroll": _CHANGE,
    "rotate": (*_CHANGE, "rehearsal"),
    "rollback": _CHANGE,
    "confirm": _CHANGE,
    "import": (*_CHANGE, "bundle"),
    "pause": ("paused", "error"),
    "resume": ("resumed", "error"),
    "retire": ("retired", "dropped", "progress", "note", "error"),
    "deploy": ("dependants", "note", "error"),
    "status": ("status", "error"),
    "explain": ("explain", "error"),
    "history": ("change", "nothing", "error"),
    "check": ("line", "check", "error"),
    "support-bundle": ("support-bundle", "error"),
    "report": ("report", "error"),
    "config check": ("config-check", "error"),
    "config hand-over": ("config-hand-over", "error"),
    "trust list": ("trust", "error"),
    "trust check": ("store", "error"),
    "trust install": (*_CHANGE, "bundle"),
    "trust restore": (*_CHANGE, "bundle"),
    "trust publish": ("published", "note", "error"),
    "sandbox": ("sandbox", "answer", "error"),
}
EVERY = VERBS | {verb: (*names, "error") for verb, names in cloud_documents.VERBS.items()}


def whole() -> Schema:
    """Return the schema file: any line of any verb; a line of one verb is at its name under `$defs`."""
    verbs: dict[str, Any] = {
        f"iot-cert-{verb.replace(' ', '-')}": {
            "description": f"A line of `iot-cert {verb} --json`.",
            "anyOf": [ref(name) for name in names],
        }
        for verb, names in EVERY.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of what iot-cert prints with --json",
        "anyOf": [ref(name) for name in verbs],
        "$defs": {**verbs, **DEFS},
    }
