"""The command line of the verb `cloud`."""

from __future__ import annotations

import argparse
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.core.text import seconds_of
from agent.core.values import THING

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.cli.command_line.parser import Verbs

DEFAULT_STACK = "iot-cert"
LONGEST_SPAN = 3650 * 86400  # seconds
STATES = ("armed", "bought", "enrolled", "blocked")


def add(actions: Verbs, add_verb: Callable[[Verbs, str, str], Any]) -> None:
    """Add the actions.

    Args:
        actions: Where to.
        add_verb: Adds one, with a sentence about it.
    """

    def action(name: str, text: str) -> Any:
        verb = add_verb(actions, name, text)
        verb.add_argument("--stack", default=DEFAULT_STACK, metavar="NAME", help=f"the stack (default {DEFAULT_STACK})")
        verb.add_argument("--region", metavar="REGION", help="where it is (default: as the AWS CLI has it)")
        verb.add_argument("--profile", metavar="PROFILE", help="whose credentials (default: as the AWS CLI has it)")
        return verb

    def duration(text: str) -> int:
        seconds = seconds_of(text)
        if not 0 < seconds <= LONGEST_SPAN:
            raise argparse.ArgumentTypeError("a duration such as 12h or 7d is expected")
        return seconds

    _add_devices(action, duration)
    _add_fleet(action, duration)
    _add_rotation(action)
    _add_ca(action)
    _add_adoption(action)
    _add_trial(action)


def _add_devices(action: Callable[[str, str], Any], duration: Callable[[str], int]) -> None:
    verb = action("arm", "give serial numbers one-time tokens, which are printed once")
    verb.add_argument("serials", nargs="*", type=name, metavar="SERIAL", help="a serial number")
    verb.add_argument("--csv", type=Path, metavar="FILE", help="serial numbers with the columns serial, thing")
    verb.add_argument("--thing", type=name, metavar="NAME", help="the thing, also one that another device was before")
    verb.add_argument("--thing-prefix", default="", metavar="TEXT", help="a thing's name is this and the serial number")
    text = "how long tokens are good (default: until they are spent)"
    verb.add_argument("--for", dest="span", type=duration, default=0, metavar="DURATION", help=text)
    verb = action("devices", "list serial numbers, and what has become of them")
    verb.add_argument("serials", nargs="*", type=name, metavar="SERIAL", help="only these")
    verb.add_argument("--state", choices=STATES, metavar="STATE", help=f"only those that are {', '.join(STATES)}")
    text = "list enrolments that were refused although the token was right"
    verb.add_argument("--refused", action="store_true", help=text)
    text = "how far back to look for these (default 7d)"
    verb.add_argument("--for", dest="span", type=duration, default=7 * 86400, metavar="DURATION", help=text)
    verb = action("block", "have a serial number refused")
    verb.add_argument("serial", type=name, metavar="SERIAL", help="the serial number")
    text = "also deactivate the certificates of its thing: the gateway loses its connection"
    verb.add_argument("--cut-off", action="store_true", help=text)
    _add_yes(verb)
    verb = action("readmit", "let a serial number enrol once more, for a while")
    verb.add_argument("serial", type=name, metavar="SERIAL", help="the serial number")
    text = "for how long (default 24h)"
    verb.add_argument("--for", dest="span", type=duration, default=86400, metavar="DURATION", help=text)
    text = "with the token that it had, for a gateway that is out of reach and has it still"
    verb.add_argument("--same-token", action="store_true", help=text)


def _add_fleet(action: Callable[[str, str], Any], duration: Callable[[str], int]) -> None:
    verb = action("status", "show the fleet by the age of its certificates and by what fails")
    verb.add_argument("--query", default="*", metavar="QUERY", help="only the things that fleet indexing finds by this")
    verb = action("check", "look at what the fleet rests on in the account, and name what is wrong and the remedy")
    text = "also say how many gateways the quotas allow whose certificates live so long"
    verb.add_argument("--lifetime", type=duration, default=0, metavar="DURATION", help=text)
    verb = action("setup", "make what no stack can make, and ask before each: fleet indexing, the claim certificate")
    text = "make a claim certificate, and write it and its key there"
    verb.add_argument("--claim", type=Path, metavar="DIR", help=text)
    _add_yes(verb)
    verb = action("orphans", "list certificates that no gateway seems to use")
    verb.add_argument("--all", action="store_true", help="also those with which nothing is wrong")


def _add_rotation(action: Callable[[str, str], Any]) -> None:
    verb = action("rotate", "have gateways rotate, by jobs or by their shadows")
    verb.add_argument("things", nargs="*", type=name, metavar="THING", help="a gateway's thing")
    verb.add_argument("--group", type=name, metavar="GROUP", help="a thing group")
    verb.add_argument("--query", metavar="QUERY", help="the things that fleet indexing finds by this")
    verb.add_argument(
        "--reason", default="ordered by the operator", metavar="TEXT", type=reason, help="told to gateways"
    )
    text = "job, or shadow where another program of the gateway takes the jobs (default job)"
    verb.add_argument("--by", choices=("job", "shadow"), default="job", metavar="WAY", help=text)
    verb.add_argument("--per-minute", type=int, default=50, metavar="N", help="gateways that are told in a minute (50)")
    text = "how many of a hundred may fail before the rest is not told (10)"
    verb.add_argument("--abort-percent", type=float, default=10.0, metavar="N", help=text)
    text = "how many must have ended before that is looked at (5)"
    verb.add_argument("--abort-after", type=int, default=5, metavar="N", help=text)
    text = "two times such as 2026-12-01T01:00Z/2026-12-01T05:00Z, between which gateways are told"
    verb.add_argument("--window", metavar="START/END", help=text)
    verb.add_argument("--dry-run", action="store_true", help="say what would be ordered, and order nothing")
    _add_yes(verb)


def _add_ca(action: Callable[[str, str], Any]) -> None:
    verb = action("ca", "show the CAs of your own by which certificates are signed; make, renew and retire one")
    what = verb.add_mutually_exclusive_group()
    what.add_argument("--new", action="store_true", help="make the first CA: a key in KMS, and its certificate")
    text = "make another CA beside that of this number, which signs in its place from --from on"
    what.add_argument("--renew", type=number, default=0, metavar="NUMBER", help=text)
    text = "end a CA on which nothing rests any more"
    what.add_argument("--retire", type=number, default=0, metavar="NUMBER", help=text)
    text = "have AWS IoT ask this signer for every certificate of the account and region, or Amazon's again"
    what.add_argument("--sign", choices=("on", "off"), metavar="on|off", help=text)
    verb.add_argument(
        "--years", type=number, default=10, metavar="N", help="how long a new CA that signs itself is valid (10)"
    )
    how = verb.add_mutually_exclusive_group()
    text = "with --new or --renew: make the key alone, and print the request that a root of yours signs"
    how.add_argument("--csr", action="store_true", help=text)
    text = "with --new or --renew: take in what that root has made of the request of --csr, in PEM or DER"
    how.add_argument("--certificate", type=Path, metavar="FILE", help=text)
    text = "when a renewed CA begins to sign, such as 2026-12-08T00:00Z (default: in seven days)"
    verb.add_argument("--from", dest="begin", type=instant, metavar="TIME", help=text)
    _add_yes(verb)


def _add_adoption(action: Callable[[str, str], Any]) -> None:
    verb = action(
        "adopt", "make gateways of an existing fleet ready for the agent; says what it would do unless told to"
    )
    verb.add_argument("--query", metavar="QUERY", help="the things that fleet indexing finds by this")
    verb.add_argument("--apply", action="store_true", help="do it")
    verb.add_argument("--undo", action="store_true", help="detach what the journal says was attached")
    text = "where what is attached is written down (default iot-cert-adopt.jsonl)"
    verb.add_argument("--journal", type=Path, default=Path("iot-cert-adopt.jsonl"), metavar="FILE", help=text)
    text = "the thing's attribute that holds its serial number (default: the thing's name is it)"
    verb.add_argument("--serial-attribute", metavar="NAME", help=text)
    text = "how many things are looked at in a second (default 1)"
    verb.add_argument("--per-second", type=rate, default=1.0, metavar="N", help=text)
    _add_yes(verb)


def _add_trial(action: Callable[[str, str], Any]) -> None:
    verb = action("first-deployment", "try with one test device what no emulator shows, and write down what was seen")
    text = "of the test device, and the transcript (default iot-cert-first-deployment)"
    verb.add_argument("--directory", type=Path, default=Path("iot-cert-first-deployment"), metavar="DIR", help=text)
    text = "its serial number and thing (default first-deployment)"
    verb.add_argument("--serial", type=name, default="first-deployment", metavar="SERIAL", help=text)
    text = "where gateways connect to (default: the account's endpoint)"
    verb.add_argument("--endpoint", metavar="HOST", help=text)
    verb.add_argument("--port", type=int, default=8883, metavar="PORT", help="the endpoint's port (8883)")
    verb.add_argument("--anchors", type=Path, metavar="FILE", help="trust anchors (default: those of this version)")
    verb.add_argument("--clean-up", action="store_true", help="remove the test device, and try nothing")
    _add_yes(verb)


def _add_yes(verb: Any) -> None:
    verb.add_argument("--yes", action="store_true", help="do not ask")


def name(text: str) -> str:
    """Return the name of a thing or a group, or a serial number, which AWS IoT Core spells alike.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if THING.fullmatch(text) is None:
        raise argparse.ArgumentTypeError("1 to 128 letters, digits and `:_-` are expected")
    return text


def number(text: str) -> int:
    """Return a number from 1 on.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 100):  # noqa: PLR2004 - of years, or of CAs
        raise argparse.ArgumentTypeError("a number from 1 to 99 is expected")
    return int(text)


def instant(text: str) -> datetime:
    """Return an instant with its zone.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    with suppress(ValueError):
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found.astimezone(UTC).replace(microsecond=0)
    raise argparse.ArgumentTypeError("a time with its zone is expected, such as 2026-12-08T00:00Z")


def rate(text: str) -> float:
    """Return how often something is done in a second.

    Raises:
        argparse.ArgumentTypeError: It is none that AWS would bear.
    """
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.01 <= found <= 10:  # noqa: PLR2004 - the account's quota of reads in a second
        raise argparse.ArgumentTypeError("a number from 0.01 to 10 is expected")
    return found


def reason(text: str) -> str:
    """Return a reason that fits the history, the journal, and a job's document and description.

    Raises:
        argparse.ArgumentTypeError: It does not.
    """
    if not text or len(text) > 500 or not text.isprintable():  # noqa: PLR2004 - what fits a line of the history
        raise argparse.ArgumentTypeError("1 to 500 printable characters are expected")
    return text
