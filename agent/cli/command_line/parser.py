"""The command line."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.cli.command_line import cloud_parser, fast_path
from agent.cli.command_line.cloud_parser import reason
from agent.cli.command_line.examples import EXAMPLES
from agent.cli.writing import standard
from agent.cli.writing.output import Output
from agent.core.report.checks import CHECKS
from agent.core.text import seconds_of, sentence_of
from agent.core.values import THING
from agent.core.when.retirement import SHORTEST_ID
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NoReturn

LONGEST_PAUSE = 90 * 86400  # seconds; a pause that is forgotten must end by itself

DEFAULT_CONFIG = Path(fast_path.DEFAULT_CONFIG)

_EXIT_CODES = """\
exit codes:
  0  done, or healthy
  1  the change failed and the previous set is in use, or something needs attention
  2  the command line, a file that it names, or the configuration is wrong
  3  there is no usable set, it has expired, or the endpoint accepts none of this gateway
  4  refused: permission, another change is running, the daily limit is used up
  5  network or cloud unavailable; the change is kept
  130  stopped with Ctrl-C; what was begun is kept
"""


class _Parser(argparse.ArgumentParser):
    """argparse, with examples, with a guess at what was meant, and with no exception for a stream that is full."""

    as_json = False  # of the line that is parsed; argparse makes the parsers of the verbs itself

    def __init__(self, **settings: Any) -> None:
        words = str(settings.get("prog", "")).split()[1:]
        lines = EXAMPLES.get(" ".join(word for word in words if word.replace("-", "").isalpha()), ())
        epilog = "\n".join(("examples:", *(f"  {line}" for line in lines))) if lines else ""
        settings["epilog"] = "\n\n".join(part for part in (settings.get("epilog", ""), epilog) if part)
        super().__init__(**{**settings, "formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False})

    def _print_message(self, message: str, file: Any = None) -> None:
        (standard.say if file is sys.stdout else standard.complain)(message.removesuffix("\n"))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            told = f"there is no {value!r}{did_you_mean(str(value), map(str, action.choices))}"
            raise argparse.ArgumentError(action, told)

    def error(self, message: str) -> NoReturn:
        """End with 2: with `--json`, what is wrong is a line of JSON, too."""
        if _Parser.as_json:
            Output(as_json=True).error(AgentError(message, hint=f"`{self.prog} --help`"), 2)
        super().error(message)

    def unknown(self, words: Sequence[str]) -> NoReturn:
        """End because of words that mean nothing here."""
        options = [option for action in self._actions for option in action.option_strings]
        guess = did_you_mean(words[0].partition("=")[0], options)
        self.error(f"unrecognized arguments: {' '.join(words)}{guess}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question after what was mistyped, or nothing where no known word is like it."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for a line that is wrong

    found = get_close_matches(word.lower(), list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def command_line() -> _Parser:
    """Return the parser of the whole command line, from which its completion is written too."""
    parser = _Parser(
        prog="iot-cert",
        description="Rotates the certificate, key and trust anchors of an AWS IoT gateway.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"iot-cert {__version__}")
    _add_common(parser, default=DEFAULT_CONFIG, as_json=False)
    parser.set_defaults(parser=parser)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for add in (_add_changes, _add_import, _add_holds, _add_deploy, _add_views, _add_trust, _add_sandbox, _add_cloud):
        add(verbs)
    helped = verbs.add_parser("help", help="say what a verb does", description="Say what a verb does.")
    helped.set_defaults(parser=helped)
    helped.add_argument("words", nargs="*", metavar="VERB", help="such as `rotate`")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; argparse exits with 2 when it is wrong."""
    parser = command_line()
    _Parser.as_json = "--json" in argv
    if not argv:
        parser.print_help(sys.stderr)
        parser.exit(2)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        arguments.parser.unknown(unknown)
    if arguments.verb is None:
        parser.error("a verb is missing; `iot-cert help` lists them")
    if arguments.verb == "help":
        parser.parse_args([*arguments.words, "--help"])
    return arguments


def _add_common(parser: argparse.ArgumentParser, **defaults: Any) -> None:
    """Add what may stand on either side of the verb; there it counts only if it is given."""
    if defaults.get("on_gateway", True):
        parser.add_argument(
            "--config",
            type=Path,
            default=defaults.get("default", argparse.SUPPRESS),
            metavar="FILE",
            help=f"configuration (default {DEFAULT_CONFIG})",
        )
    text, default = "print JSON, an object a line", defaults.get("as_json", argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", default=default, help=text)


if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[_Parser]  # noqa: SLF001 - argparse names it so


def _add(verbs: Verbs, name: str, text: str, *, on_gateway: bool = True) -> _Parser:
    """Add a verb, with the option of a gateway's configuration where it reads one."""
    verb = verbs.add_parser(name, help=text, description=f"{sentence_of(text)}.")
    verb.set_defaults(parser=verb)
    _add_common(verb, on_gateway=on_gateway)
    return verb


_add_elsewhere = partial(_add, on_gateway=False)


def _add_group(verbs: Verbs, name: str, text: str, *, on_gateway: bool = True) -> Verbs:
    """Add a verb that has actions."""
    verb = _add(verbs, name, text, on_gateway=on_gateway)
    return verb.add_subparsers(dest="action", required=True, metavar="ACTION")


def _add_changes(verbs: Verbs) -> None:
    texts = {
        "enroll": "get the first certificate with the claim certificate",
        "rotate": "get a new key and certificate and put them in place, or go on with a change that was begun",
        "rollback": "go back to the previous set, once it is proven; or give up a change in flight",
    }
    for name, text in texts.items():
        verb = _add(verbs, name, text)
        _add_following(verb)
        if name == "rollback":
            verb.add_argument(
                "--give-up", action="store_true", help="end the change in flight, also when that is a rollback itself"
            )
        if name == "rotate":
            verb.add_argument(
                "--dry-run", action="store_true", help="do all that costs nothing, and say what a rotation would do"
            )
    text = "say that the gateway works with the set on probation: after one more proof it is final"
    _add_waiting(_add(verbs, "confirm", text))


def _add_import(verbs: Verbs) -> None:
    verb = _add(verbs, "import", "put a key and certificate, or anchors, from files in place, once they are proven")
    text = "a directory, or files: PEM, DER, PKCS #12"
    verb.add_argument("--from", dest="source", nargs="+", type=Path, required=True, metavar="PATH", help=text)
    verb.add_argument(
        "--thing", metavar="NAME", type=_thing, help="the thing they are for (default: the current one, `thing_name`)"
    )
    verb.add_argument(
        "--password-file", type=Path, metavar="FILE", help="its first line decrypts a key or PKCS #12 file"
    )
    text = "the anchors that were found replace those in use, instead of being added to them"
    verb.add_argument("--replace-anchors", action="store_true", help=text)
    text = "use the set before it is proven, as without a network; probation proves it later (root alone)"
    verb.add_argument("--unproven", action="store_true", help=text)
    _add_following(verb)


def _thing(text: str) -> str:
    if THING.fullmatch(text) is None:
        raise argparse.ArgumentTypeError("a thing name has up to 128 letters, digits and `:_-`")
    return text


_WHY = "why, for the history and the journal"


def _add_following(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--reason", default="asked for by a technician", metavar="TEXT", type=reason, help=_WHY)
    _add_waiting(verb)


def _add_waiting(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--no-wait",
        action="store_true",
        help="leave the rest to the daemon once it is begun; without one, do not wait for the end of probation",
    )
    verb.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="how long to retry before leaving the change for later (default 120, and 1200 for what the cloud "
        "itself needs time for)",
    )


def _add_holds(verbs: Verbs) -> None:
    pause = _add(verbs, "pause", "hold scheduled changes for a while; a certificate about to expire is not held")
    pause.add_argument("duration", type=_span, metavar="DURATION", help="such as 90m, 12h or 7d; at most 90d")
    pause.add_argument("--reason", default="paused by a technician", metavar="TEXT", type=reason, help=_WHY)
    _add(verbs, "resume", "end a pause")
    _add_retire(verbs)
    _add(verbs, "run", "run the daemon; systemd starts it as iot-cert-agent.service")


def _add_retire(verbs: Verbs) -> None:
    retire = _add(
        verbs, "retire", "have the cloud deactivate the certificates left behind now, instead of after the grace"
    )
    ways = retire.add_mutually_exclusive_group()
    text = "also those that other programs of this gateway may use still; they lose their connection"
    ways.add_argument("--now", action="store_true", help=text)
    text = "do not ask for this one any more; at least 8 digits of its id"
    ways.add_argument("--drop", type=_certificate, metavar="ID", help=text)


def _certificate(text: str) -> str:
    if not SHORTEST_ID <= len(text) <= 64 or not set(text.lower()) <= set("0123456789abcdef"):  # noqa: PLR2004 - SHA-256
        raise argparse.ArgumentTypeError(f"{SHORTEST_ID} to 64 hexadecimal digits of a certificate's id are expected")
    return text.lower()


def _add_deploy(verbs: Verbs) -> None:
    verb = _add(verbs, "deploy", "have dependent services load the current set, and report those that do not")
    verb.add_argument("--afresh", action="store_true", help="also reload those that use it already")
    verb.add_argument("--serve", action="store_true", help="run as the socket-activated helper; systemd starts it")


_PAGE = Path("iot-cert-report.html")


def _add_views(verbs: Verbs) -> None:
    status = _add(verbs, "status", "show on one screen how things are")
    status.add_argument("--watch", action="store_true", help="show it again as it changes, until Ctrl-C")
    _add(verbs, "explain", "say why nothing is being rotated now, and until when")
    _add(verbs, "history", "show what was changed, when and why")
    check = _add(verbs, "check", "look at everything a working gateway rests on, and name what is wrong and the remedy")
    check.add_argument("names", nargs="*", metavar="NAME", type=_check, help=f"of {', '.join(CHECKS)}")
    support = _add(verbs, "support-bundle", "write one archive for a support case, without keys, tokens and passwords")
    support.add_argument("--output", type=Path, default=Path("iot-cert-support.tar"), metavar="FILE", help="where to")
    report = _add(verbs, "report", "write one page about this gateway, without keys, tokens and passwords")
    report.add_argument(
        "--html", type=Path, nargs="?", const=_PAGE, default=_PAGE, metavar="FILE", help=f"where to ({_PAGE})"
    )
    actions = _add_group(verbs, "config", "work with the configuration file")
    _add(actions, "check", "check the configuration file and what it names")
    _add(actions, "hand-over", "as root, hand the agent's user the parameters that root alone may read")


def _add_trust(verbs: Verbs) -> None:
    actions = _add_group(verbs, "trust", "work with trust anchors")
    _add(actions, "list", "show the anchors in use, where they came from, and what is to be said about them")
    check = _add(actions, "check", "check a store of any program, or without FILE the anchors in use")
    check.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a PEM or DER store")
    check.add_argument("--any", action="store_true", help="the store need not hold the roots of AWS IoT Core")
    install = _add(actions, "install", "verify a signed bundle, prove its anchors, and put them in place")
    install.add_argument(
        "source", metavar="FILE|DIR|URL", help="a tar archive, a repository's directory, or an https URL of either"
    )
    install.add_argument("--sha256", type=_digest, metavar="HEX", help="the hash that a downloaded archive must have")
    _add_following(install)
    restore = _add(
        actions, "restore", "put the anchors back that came with the package or OS image, once they are proven"
    )
    _add_following(restore)
    text = "make or sign again a repository of signed bundles, for a pipeline"
    _add_publish(_add_elsewhere(actions, "publish", text))


def _add_publish(publish: argparse.ArgumentParser) -> None:
    publish.add_argument("repository", type=Path, metavar="DIR", help="the repository; made when it is not there")
    publish.add_argument(
        "--anchors", type=Path, metavar="FILE", help="the bundle; without it, sign again what is there"
    )
    for flag, meaning, text in _REPEATED:
        kind = {"--public-key": _pair_with_uri}.get(flag, _pair) if "=" in meaning else str
        publish.add_argument(flag, action="append", default=[], type=kind, metavar=meaning, help=text)
    publish.add_argument("--replace-keys", action="store_true", help="give each role named with --key these keys alone")
    publish.add_argument("--target", default="anchors.pem", metavar="NAME", help="the bundle's name (anchors.pem)")
    publish.add_argument("--without-amazon", type=reason, metavar="WHY", help="let roots of AWS IoT Core be missing")
    text = "the time of publication (default: SOURCE_DATE_EPOCH, else now)"
    publish.add_argument("--time", type=_instant, metavar="TIME", help=text)
    publish.add_argument("--archive", type=Path, metavar="FILE", help="also write what a gateway needs as one tar file")


_REPEATED = (
    ("--key", "ROLE[,ROLE]=URI", "who signs: file2:KEY.pem, or any signer URI of securesystemslib"),
    ("--public-key", "URI=FILE", "the public part of a key that is not in a file"),
    ("--old-root-key", "URI", "a key of the root before, when the root's own keys are replaced"),
    ("--threshold", "ROLE=N", "how many signatures a role needs (default 1)"),
    ("--expires", "ROLE=DURATION", "how long signatures last (timestamp 90d, targets, snapshot 365d, root 3650d)"),
    ("--renew", "ROLE", "a role that gets a new version although nothing in it changed"),
    ("--compatible", "PRODUCT", "a product the bundle is for, compared with `trust.compatible` (default: all)"),
)


def _add_sandbox(verbs: Verbs) -> None:
    verb = _add_elsewhere(verbs, "sandbox", "run a local AWS IoT Core to rehearse against")
    verb.add_argument("--dir", type=Path, required=True, metavar="DIR", help="where to keep its files")
    verb.add_argument("--host", default="localhost", help="the name in its certificate (default localhost)")
    verb.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default 127.0.0.1)")
    verb.add_argument("--lifetime", type=_seconds, metavar="SECONDS", help="how long certificates live (default: 2049)")
    verb.add_argument("--probation", type=_seconds, default=5, metavar="SECONDS", help="written to the configuration")
    verb.add_argument(
        "order",
        nargs="*",
        metavar="ORDER",
        help="an order to a sandbox that runs in DIR, such as `fault create lose`; `help` lists them",
    )


def _add_cloud(verbs: Verbs) -> None:
    actions = _add_group(verbs, "cloud", "work with the account's side of a fleet", on_gateway=False)
    cloud_parser.add(actions, _add_elsewhere)


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise argparse.ArgumentTypeError("NAME=VALUE is expected")
    return name, value


def _pair_with_uri(text: str) -> tuple[str, str]:
    """Return a URI, which may hold an `=` as those of security modules do, and what follows the last one."""
    name, _, value = text.rpartition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError("URI=FILE is expected")
    return name, value


def _digest(text: str) -> str:
    if len(text) != 64 or not all(char in "0123456789abcdefABCDEF" for char in text):  # noqa: PLR2004 - SHA-256
        raise argparse.ArgumentTypeError("64 hexadecimal digits are expected")
    return text.lower()


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.upper())
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("a time such as 2026-11-22T12:00:00Z is expected") from None


def _check(text: str) -> str:
    if text not in CHECKS:
        guess = did_you_mean(text, CHECKS)
        raise argparse.ArgumentTypeError(f"there is no check {text!r}, only {', '.join(CHECKS)}{guess}")
    return text


def _seconds(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 10 and int(text) <= 10**9):  # noqa: PLR2004 - digits of the largest
        raise argparse.ArgumentTypeError("seconds from 0 to 10^9 are expected")
    return int(text)


def _span(text: str) -> int:
    seconds = seconds_of(text)
    if not 0 < seconds <= LONGEST_PAUSE:
        raise argparse.ArgumentTypeError("a duration such as 90m, 12h or 7d is expected, at most 90d")
    return seconds
