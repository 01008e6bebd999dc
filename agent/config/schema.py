"""The table of keys: each with its kind, which has unit and bounds, and with what it is for.

From it come the reader (`agent.config.reader`), its complaints, the JSON Schema for editors and the keys in the manual
page (`agent.config.describe`); a test holds the commented example to it. A key is added here and in the dataclass that
carries it, and is written about in the example.

It is a table and not metadata on the dataclasses' fields, for three reasons. The core's values (`Copy`, `Unit`, ...)
know no file format. The file's sections are not the attributes: `from` is no name in Python, and `key.algorithm` is an
attribute of the whole. And who reads this page sees the whole file at once. Defaults are the dataclasses' own, see
`agent.config.values`; only what no dataclass can say stands here.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.config import kinds, values
from agent.config.enrolment import ENROLLMENT, PARAMETERS, TEMPLATE_NAME
from agent.config.kinds import Choice, Duration, Number, Text
from agent.config.looks import LOOKS
from agent.config.sections import Key, Section, Sections
from agent.core.aws.endpoints import Proxy
from agent.core.dependants import (
    FORMATS,
    MAX_EACH,
    Content,
    Copy,
    Format,
    GateCommands,
    Hooks,
    OnFailure,
    Signal,
    SignalName,
    Unit,
    UnitAction,
    Verification,
)
from agent.core.values import THING, ByHand, KeyAlgorithm, OnChange
from agent.core.when.maintenance import MaintenanceWindow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALPN_PORT = 443
TARGET = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,4}")
PRODUCT = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CHARACTER = r"""(\\([ "#+,;<=>\\]|[0-9A-Fa-f]{2})|[^"+,;<>\\\x00])"""
_SHORT, _LONG = rf"(CN|OU|O)={_CHARACTER}{{1,64}}", rf"(L|ST|STREET|DC|UID|[0-2](\.[0-9]+)+)={_CHARACTER}{{1,1024}}"
_ATTRIBUTE = rf"(C=[A-Za-z]{{2}}|({_SHORT}|{_LONG})(?<!(?<!\\) ))"
SUBJECT = re.compile(rf"{_ATTRIBUTE}([,+]{_ATTRIBUTE})*")  # what cryptography makes a name of

_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,200}\.service")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_PROXY_USER = re.compile(r"[^:\x00-\x1f\x7f]{1,200}")  # RFC 7617, section 2
_ADDRESS = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,39}\]):[0-9]{1,5}")

_PATH, _FLAG, _DURATION = kinds.AbsolutePath(), kinds.Flag(), Duration()
_TIMEOUT = Duration("1s", "1h")
_TARGET_NAME = Text("a target's name, without a leading slash or dots", TARGET)
_USER, _GROUP = Text("a user's name", _ACCOUNT), Text("a group's name", _ACCOUNT)
_UNIT_NAME = Text("a service's name with its suffix, such as mosquitto.service,", _UNIT)
_PORT = Number(1, 65535)
_ON_FAILURE = Key(
    "on_failure", Choice(OnFailure), "`rollback`: a change is taken back when this fails to take the new set up"
)


def _check_copy(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    form, content = found.get("format"), found.get("content")
    if form and content and content not in FORMATS[form]:
        yield (
            "format",
            f"one that can hold {content}: DER holds one key or certificate, PKCS #12 a pair, directories anchors",
        )
    if form is Format.PKCS12 and "password_file" not in found:
        yield "password_file", ""
    if form and form.is_directory and found.get("heal") is False:
        yield "heal", "true: a directory of anchors is the agent's alone"


def _check_unit(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if found.get("unit", "").startswith("iot-cert-agent"):
        yield "unit", "another unit than the agent's own"


def _check_signal(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if found.get("verify") is not None and found["verify"].new_process:
        yield "verify", "one without `new_process`: a signal starts none"


def _check_proxy(found: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if "password_file" in found and "user" not in found:
        yield "user", ""


_TRUST = Section(
    values.TrustConfig,
    (
        Key("anchors", _PATH, "those of the package or OS image: for the first generation, and to restore"),
        Key("root", _PATH, "the root.json that signed bundles are verified from", otherwise="none are accepted"),
        Key("target", _TARGET_NAME, "the bundle's name in the signers' list"),
        Key(
            "compatible",
            Text("a product's name of letters, digits and `._-`", PRODUCT),
            "what this gateway is; a bundle for other products is refused",
            otherwise="a bundle that names products is refused",
        ),
        Key("inbox", _PATH, "where an OTA pipeline drops bundles", otherwise="`inbox` in `state_dir`"),
        Key("warn", kinds.Durations(), "how long before an anchor's end alarms are raised"),
    ),
)  # fmt: skip

_WATCH = Section(
    values.WatchConfig,
    (
        Key("path", _PATH, "a certificate file or store of another program", required=True),
        Key("warn", _DURATION, "how long before the end of one of its certificates an alarm is raised"),
    ),
)

_TOLD = Key("command", kinds.Command(), "what is told, as JSON on its standard input; no shell", required=True)
_NOTICES = Section(values.NoticesConfig, (_TOLD,))

_COPY = Section(
    Copy,
    (
        Key("to", _PATH, "where the copy is written", required=True),
        Key("content", Choice(Content), "what it holds", required=True),
        Key("format", Choice(Format), "`der`: one object; `pkcs12`: a pair or anchors; `hashed`, `system`: anchors"),
        Key("owner", _USER, "the user it belongs to"),
        Key("group", _GROUP, "the group it belongs to"),
        Key("mode", kinds.Mode(), "its mode"),
        Key("password_file", _PATH, "whose first line encrypts a `pkcs12` file", otherwise="required for `pkcs12`"),
        Key("heal", _FLAG, "put it back when something else changes it"),
        _ON_FAILURE,
    ),
    check=_check_copy,
)  # fmt: skip

_COPIES = Sections(_COPY, unique="to", most=MAX_EACH)

_HOOKS = Section(
    Hooks,
    (
        Key(
            "directory", _PATH, "where the executables are; they and it belong to root", default=values.HOOKS_DIRECTORY
        ),
        Key("timeout", _DURATION, "how long each may take"),
        Key("user", _USER, "who runs them"),
        _ON_FAILURE,
    ),
)

_GATES = Section(
    GateCommands,
    (
        Key(
            "directory", _PATH, "where the executables are; they and it belong to root", default=values.GATES_DIRECTORY
        ),
        Key("timeout", _DURATION, "how long each may take"),
        Key("user", _USER, "who runs them"),
        Key("patience", Duration("0s", "30d"), "how long they may hold a change; near expiry they hold none"),
    ),
)

_VERIFY = Section(
    Verification,
    (
        Key("tls", Text("host:port", _ADDRESS), "where it must show the new certificate", otherwise="not asked"),
        Key("command", kinds.Command(), "what must end with 0; no shell", otherwise="none"),
        Key("new_process", _FLAG, "whether it must have been started anew"),
    ),
)

_TAKEN_UP = (Key("healthy", _DURATION, "how long it must stay up after"), Key("verify", _VERIFY), _ON_FAILURE)

_DEPENDANT = Section(
    Unit,
    (
        Key("unit", _UNIT_NAME, "a service that uses the set", attribute="name", required=True),
        Key("action", Choice(UnitAction), "what is done to it; a unit that does not run is left alone"),
        Key("timeout", _DURATION, "until that is done and verified"),
        *_TAKEN_UP,
    ),
    check=_check_unit,
)

_SIGNAL = Section(
    Signal,
    (
        Key("pid_file", _PATH, "the file that says which process is told", required=True),
        Key("process", Text("a process's name as `ps -o comm` shows it"), "what it must be called", required=True),
        Key("signal", Choice(SignalName), "what it is sent; a program that does not run is left alone"),
        Key("timeout", _DURATION, "until that is verified"),
        *_TAKEN_UP,
    ),
    check=_check_signal,
)

_KEY = Section(
    values.Config,
    (
        Key("algorithm", Choice(KeyAlgorithm), "of the private keys that are made", attribute="key_algorithm"),
        Key(
            "subject",
            Text("an RFC 4514 name such as CN=gw-0042,O=Example", SUBJECT),
            "of certificate requests",
            otherwise="the current certificate's, else CN=<thing>",
        ),
    ),
    inner=True,
)

_TIMEOUTS = Section(
    values.Config,
    (
        Key("connect", _TIMEOUT, "for a connection to be made", attribute="connect_timeout"),
        Key("request", _TIMEOUT, "for a request to be answered", attribute="request_timeout"),
    ),
    inner=True,
)

_MAINTENANCE = Section(
    MaintenanceWindow,
    (
        Key("from", kinds.Hour(), "when it opens, local time", attribute="start", required=True),
        Key("to", kinds.Hour(), "when it closes; not after `from`: on the next day", attribute="end", required=True),
        Key("days", kinds.Days(), "on which days it opens"),
        Key("time_zone", kinds.Zone(), "of both", attribute="zone"),
    ),
)

_ROTATION = Section(
    values.RotationConfig,
    (
        Key("template", TEMPLATE_NAME, "the provisioning template of later certificates; it is given ThingName"),
        Key("parameters", PARAMETERS, "further parameters of the template"),
        Key("max_age", _DURATION, "rotate at the latest this long after a certificate was issued"),
        Key("before_expiry", _DURATION, "rotate this long before the end, but not in the first third of the lifetime"),
        Key("window", _DURATION, "a fleet spreads its rotations over this long, an eighth of the lifetime at most"),
        Key("probation", _DURATION, "from activation to final"),
        Key("policy_patience", _DURATION, 'how long "not authorised" may be the spreading of a policy'),
        Key("refusal_patience", _DURATION, "how long a refusal may be the spreading of an activation"),
        Key("dependants_patience", _DURATION, "how long a program that fails to take a new set up is tried again"),
        Key(
            "confirm",
            Duration("1s", "30d"),
            "a new set must be confirmed within this time, or the one before comes back",
            otherwise="no confirmation is asked for",
        ),
        Key("daily_limit", Number(1, 1000), "certificates asked for in 24 hours"),
        Key("keep", Number(0, 100), "generations kept besides current and previous"),
        Key("retire", _FLAG, "whether the cloud is asked to deactivate certificates that were left behind"),
        Key("grace", _DURATION, "from final to asking the cloud to deactivate the certificate that was replaced"),
        Key("maintenance", Sections(_MAINTENANCE), "when unattended rotations may begin", otherwise="always"),
        Key(
            "inhibit_file",
            _PATH,
            "while it exists no unattended rotation begins, except near expiry",
            otherwise="none is looked for",
        ),
        Key(
            "replaced_by_hand",
            Choice(ByHand),
            "what becomes of a key and certificate put into `current` by hand",
            attribute="by_hand",
        ),
        Key(
            "on_change",
            Choice(OnChange),
            "when a set is replaced that was made with another key, subject, template or parameters than configured",
        ),
    ),
)  # fmt: skip

_PROXY = Section(
    Proxy,
    (
        Key(
            "host",
            kinds.HostOrAddress("a host name or an address, without scheme, port or path,"),
            "the proxy's name or address",
            required=True,
        ),
        Key("port", _PORT, "its port", required=True),
        Key("user", Text("a name without a colon", _PROXY_USER), "the name that it is given", otherwise="none is"),
        Key(
            "password_file",
            _PATH,
            "whose first line is the password, readable for the agent's user and not for others",
            otherwise="an empty one",
        ),
    ),
    check=_check_proxy,
)  # fmt: skip


def _config(*, alpn: bool | None = None, **found: Any) -> values.Config:
    """Return the whole, of which ALPN follows the port, and which has its dependants in one place."""
    names = ("copies", "hooks", "signals", "units", "gates")
    others: dict[str, Any] = {name: found.pop(name) for name in names if name in found}
    dependants = replace(values.DEFAULT_DEPENDANTS, **others)
    port = found.get("port", values.Config.port)
    return values.Config(alpn=port == ALPN_PORT if alpn is None else alpn, dependants=dependants, **found)


FILE = Section(
    values.Config,
    (
        Key(
            "endpoint",
            kinds.Host("the account's ATS endpoint, a host name"),
            "the account's ATS endpoint: `aws iot describe-endpoint --endpoint-type iot:Data-ATS`",
            required=True,
        ),
        Key("port", _PORT, "8883, or 443, which negotiates ALPN x-amzn-mqtt-ca"),
        Key("alpn", _FLAG, "whether ALPN is negotiated, for an endpoint of one's own", otherwise="true with port 443"),
        Key("proxy", _PROXY, "an HTTP proxy that is asked to CONNECT"),
        Key("small_client_hello", _FLAG, "true where a middlebox drops TLS messages larger than one packet"),
        Key(
            "thing_name",
            Text("a thing name of letters, digits and `:_-`", THING),
            "optional before enrolment; when set, no other thing is accepted",
            otherwise="what enrolment says",
        ),
        Key(
            "client_id",
            Text("an MQTT client id, which may contain {thing}"),
            "the agent's own MQTT client id, never the application's",
        ),
        Key(
            "fresh_connection",
            Duration("10m", "365d"),
            "how long a connection may last before a new one shows whether the set is still accepted",
        ),
        Key("session", LOOKS, "when the agent's own session is there", otherwise="always"),
        Key("state_dir", _PATH, "where generations and records are; takes effect at a restart"),
        Key("runtime_dir", _PATH, "where the control socket and the status files are; takes effect at a restart"),
        Key("vouched_clock", _FLAG, "true where the time comes from a source that the kernel does not know of"),
        Key("trust", _TRUST),
        Key("watch", Sections(_WATCH), "certificates and stores of other programs, whose end is to be told of in time"),
        Key("notices", _NOTICES, otherwise="no command is told what is wrong"),
        Key("copies", _COPIES, "for programs that cannot follow the links in `state_dir`"),
        Key("hooks", _HOOKS),
        Key("gates", _GATES),
        Key(
            "signals",
            Sections(_SIGNAL, unique="pid_file", most=MAX_EACH),
            "programs that take a signal for news, and say in a file which process they are",
        ),
        Key(
            "dependants",
            Sections(_DEPENDANT, unique="unit", most=MAX_EACH),
            "services that are told of another set",
            attribute="units",
        ),
        Key("deploy_dir", _PATH, "where it is noted how the programs above stand"),
        Key("deploy_socket", _PATH, "where the agent, which is not root, asks for all this"),
        Key("key", _KEY),
        Key("timeouts", _TIMEOUTS),
        Key("enrollment", ENROLLMENT, otherwise="this gateway does not enrol by itself"),
        Key("rotation", _ROTATION),
    ),
    build=_config,
)  # fmt: skip
