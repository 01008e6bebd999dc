"""The orders that a running sandbox takes: their words, their arguments, and what `help` tells of them.

An order is one line of text. Its words are parsed as a command's are; the text that ends some orders is taken as it
was written, with its spaces and quotes, since a job's document goes out to the byte.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from agent.backend.values import Check
from agent.errors import AgentError
from agent.sandbox.replies.faults import EFFECTS, Operation

_WIDTH = 118


def _effects() -> str:
    """Return a line or more for the operations that the same can happen to."""
    groups: dict[str, list[str]] = {}
    for operation in Operation:
        groups.setdefault(" ".join(EFFECTS[operation]), []).append(operation)
    begins = {effects: f"      {' '.join(operations):<25}" for effects, operations in groups.items()}
    return "\n".join(
        textwrap.fill(effects, _WIDTH, initial_indent=begin, subsequent_indent=" " * len(begin), break_on_hyphens=False)
        for effects, begin in begins.items()
    )


HELP = f"""\
fault OPERATION EFFECT [TIMES|always]   make something go wrong, once if not said otherwise; to an operation happens
{_effects()}
clear                     let everything work again; a root that was moved to stays
down | up                 stop listening, listen again
revoke ID | current       revoke a certificate and cut its connections
deactivate ID | current   make it inactive; `activate ID` makes it active again
arm SERIAL [TOKEN]        give a serial number a one-time token, and tell it; SERIAL becomes the thing gw-SERIAL
readmit SERIAL            let its token, which was spent, buy one more certificate
grant NAME [ID|current]   attach an application's policy, which rotations keep: publish below NAME/<thing>/
audit age | expiry [ID|current]   have Device Defender find a certificate, and answer that: a job, or why there is none
sweep [DAYS]              delete what has been retired for long enough, as if so many days had passed
server good | expired | wrong-host | other-root
root new NAME [organisation TEXT]   make another root and write it to DIR/roots/NAME.pem; the first one is called a
root use NAME [intermediate]   move the endpoint to it, with an intermediate below it if said; connections stay
tls any | 1.2 | 1.3       which TLS versions the endpoint speaks
lifetime SECONDS          how long new certificates live, as with a certificate provider; 0 for AWS's own, to 2049
policy-delay SECONDS      how long the policy of a new certificate takes to spread
job rotate | rollback | report [JSON]   give the newest gateway a job, with more fields if wanted
job raw JSON              give it a job with this document, to the byte
jobs                      list its jobs with what it said about them
cancel JOB                cancel one of them
desire JSON               change what its shadow `certificate` desires
shadow                    show the shadow
certificates | requests | live
sessions                  who was connected when, and the longest time in which a client was not
stop
"""

SERVERS = ("good", "expired", "wrong-host", "other-root")
VERSIONS = ("any", "1.2", "1.3")
CHECKS = {"age": Check.AGE, "expiry": Check.EXPIRING}
JOBS = {"rotate": "rotate-certificate", "rollback": "rollback", "report": "report"}

# The orders of one word.
_PLAIN = ("clear", "down", "up", "jobs", "shadow", "sessions", "certificates", "requests", "live", "help")


class OrderError(AgentError):
    """An order that cannot be carried out."""


class _OrderParser(argparse.ArgumentParser):
    """A parser that raises where argparse ends the process, and knows no options: a text may begin with a hyphen."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"add_help": False, "prefix_chars": "\0"})

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[_OrderParser]  # noqa: SLF001 - argparse names it so


def parse(order: str) -> argparse.Namespace:
    """Return an order's arguments. `order` is its words without them, and `text` what it ends with.

    Raises:
        OrderError: There is no such order, or its arguments are wrong.
    """
    words = order.split() or ["help"]
    tree, verbs = _tree()
    if words[0] not in verbs.choices:
        raise OrderError(f"There is no order {words[0]!r}.", hint="`help` lists them.")
    try:
        found = tree.parse_args(words)
        if "text" in found:
            found.text = rest_of(order, len(words) - len(found.text))
    except ValueError as error:
        raise refused(order, error) from None
    return found


@cache  # making it takes longer than any order
def _tree() -> tuple[_OrderParser, Verbs]:
    tree = _OrderParser(prog="order")
    verbs = tree.add_subparsers(required=True, metavar="ORDER")
    _add_faults(verbs)
    _add_endpoint(verbs)
    _add_fleet(verbs)
    for word in _PLAIN:
        verbs.add_parser(word).set_defaults(order=word)
    return tree, verbs


def refused(order: str, why: Exception) -> OrderError:
    """Return that an order cannot be carried out."""
    return OrderError(f"The order {order!r} cannot be carried out ({why}).", hint="`help` lists them.")


def _add(verbs: Verbs, word: str, *, order: str | None = None) -> _OrderParser:
    parser = verbs.add_parser(word)
    parser.set_defaults(order=order or word)
    return parser


def _add_text(parser: _OrderParser) -> None:
    parser.add_argument("text", nargs=argparse.REMAINDER)


def _add_faults(verbs: Verbs) -> None:
    faults = verbs.add_parser("fault").add_subparsers(required=True, dest="operation", metavar="OPERATION")
    for operation, effects in EFFECTS.items():
        fault = _add(faults, operation.value, order="fault")
        fault.add_argument("effect", choices=[item.value for item in effects])
        fault.add_argument("times", type=_times, nargs="?", default=1)
    for word in ("revoke", "deactivate", "activate"):
        _add(verbs, word).add_argument("certificate", metavar="ID")
    arm = _add(verbs, "arm")
    arm.add_argument("serial")
    arm.add_argument("token", nargs="?", default="")
    _add(verbs, "readmit").add_argument("serial")
    grant = _add(verbs, "grant")
    grant.add_argument("name")
    grant.add_argument("certificate", metavar="ID", nargs="?", default="current")
    audit = _add(verbs, "audit")
    audit.add_argument("check", choices=list(CHECKS))
    audit.add_argument("certificate", metavar="ID", nargs="?", default="current")
    _add(verbs, "sweep").add_argument("days", type=_number, nargs="?", default=0)
    for word in ("policy-delay", "lifetime"):
        _add(verbs, word).add_argument("seconds", type=_number)


def _add_endpoint(verbs: Verbs) -> None:
    _add(verbs, "server").add_argument("certificate", choices=SERVERS)
    _add(verbs, "tls").add_argument("version", choices=VERSIONS)
    roots = verbs.add_parser("root").add_subparsers(required=True, metavar="new | use")
    new = _add(roots, "new", order="root new")
    new.add_argument("name")
    _add_text(new)
    use = _add(roots, "use", order="root use")
    use.add_argument("name")
    use.add_argument("intermediate", nargs="?", choices=["intermediate"])


def _add_fleet(verbs: Verbs) -> None:
    jobs = verbs.add_parser("job").add_subparsers(required=True, metavar=" | ".join([*JOBS, "raw"]))
    for word in JOBS:
        job = _add(jobs, word, order="job")
        job.set_defaults(kind=word)
        _add_text(job)
    _add_text(_add(jobs, "raw", order="job raw"))
    _add(verbs, "cancel").add_argument("job")
    _add_text(_add(verbs, "desire"))


def _times(text: str) -> int | None:
    if text == "always":
        return None
    if not (text.isdecimal() and 0 < int(text[:7]) < 10**6):  # more often than any rehearsal
        raise argparse.ArgumentTypeError("a number of times from 1 on, or always, is expected")
    return int(text)


def _number(text: str) -> int:
    """Return seconds or days: a calendar ends before many more, and none are to come back."""
    if not (text.isdecimal() and text.isascii() and len(text) <= 9):  # noqa: PLR2004 - digits of 30 years in seconds
        raise argparse.ArgumentTypeError("a number from 0 to 999999999 is expected")
    return int(text)


def rest_of(text: str, words: int) -> str:
    """Return a text without its first words, with the rest as it was written."""
    rest = text.split(maxsplit=words)
    return rest[words] if len(rest) > words else ""


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object that ends an order.

    Raises:
        ValueError: It is none.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a JSON object is expected")  # noqa: TRY004 - for the person who gave the order
    return value
