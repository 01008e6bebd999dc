"""The configuration file: YAML in, frozen values out, every complaint with file, line, key and expectation.

Rules:

* All complaints come at once, so that nobody fixes a file line by line.
* An unknown key is a mistake, never ignored: a misspelt limit must not become the default.
* Reading checks what the file says. Whether the files it names can be used is checked where they are needed, since a
  claim certificate is rightly gone from a gateway that has its own.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field, replace
from datetime import UTC, time, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import yaml

from agent.core.aws import client_ids
from agent.core.aws.endpoints import Endpoint, EndpointKind, Proxy, classify, is_host
from agent.core.change.decide import Limits
from agent.core.dependants import FORMATS, MAX_EACH, Content, Copy, Dependants, Format, Hooks, Unit, Verification
from agent.core.values import THING, ByHand, KeyAlgorithm
from agent.core.when.maintenance import DAYS, MaintenanceWindow
from agent.core.when.renewal import RenewalPolicy
from agent.core.when.schedule import Holds
from agent.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import StrEnum

    from agent.core.when.schedule import Pause

E = TypeVar("E", bound="StrEnum")

DEFAULT_STATE_DIR = Path("/var/lib/iot-cert-agent")
DEFAULT_RUNTIME_DIR = Path("/run/iot-cert-agent")
DEFAULT_HOOKS = Path("/etc/iot-cert-agent/hooks.d")
DEFAULT_DEPLOY_DIR = Path("/var/lib/iot-cert-agent-deploy")
DEFAULT_DEPLOY_SOCKET = Path("/run/iot-cert-agent-deploy.sock")
DEFAULT_ANCHORS = Path("/usr/share/iot-cert-agent/amazon-roots.pem")

MAX_CONFIG = 65_536  # bytes
MAX_MATERIAL = 1_048_576  # bytes
ALPN_PORT = 443
LONGEST_CONFIRM = timedelta(days=30)
MAX_CLIENT_ID = 128  # bytes; AWS IoT Core quota

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,7})([smhd])")
_TEMPLATE = re.compile(r"[0-9A-Za-z_-]{1,36}")
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]{0,200}\.service")
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_ADDRESS = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,39}\]):[0-9]{1,5}")
_MODE = re.compile(r"0?[0-7]{3}")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
TARGET = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){0,4}")
PRODUCT = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class FileValue:
    """A parameter whose value is what a file holds, white space at the ends removed."""

    path: Path


@dataclass(frozen=True, kw_only=True)
class ClaimConfig:
    """The claim credential."""

    certificate: Path
    key: Path


@dataclass(frozen=True, kw_only=True)
class EnrollmentConfig:
    """How the first certificate is got."""

    template: str
    claim: ClaimConfig
    parameters: Mapping[str, str | FileValue] = field(default_factory=dict)
    client_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class RotationConfig:
    """How and when the next ones are got. Attributes as in the file."""

    template: str = "gateway-rotation"
    parameters: Mapping[str, str | FileValue] = field(default_factory=dict)
    max_age: timedelta = timedelta(days=365)
    before_expiry: timedelta = timedelta(days=30)
    window: timedelta = timedelta(days=30)
    probation: timedelta = timedelta(minutes=10)
    policy_patience: timedelta = timedelta(minutes=10)
    refusal_patience: timedelta = timedelta(minutes=1)
    dependants_patience: timedelta = timedelta(minutes=2)
    confirm: timedelta | None = None
    daily_limit: int = 4
    keep: int = 3
    retire: bool = True
    grace: timedelta = timedelta(days=7)
    maintenance: tuple[MaintenanceWindow, ...] = ()
    inhibit_file: Path | None = None
    by_hand: ByHand = ByHand.ADOPT

    def holds(self, pause: Pause | None) -> Holds:
        """Return what may hold a change that is due, with the inhibit file as it is now."""
        inhibited = str(self.inhibit_file) if self.inhibit_file and self.inhibit_file.exists() else ""
        return Holds(pause=pause, inhibited_by=inhibited, windows=self.maintenance)


@dataclass(frozen=True, kw_only=True)
class TrustConfig:
    """Trust anchors, and who may ship others.

    Attributes:
        anchors: The baked copy.
        root: The ``root.json`` that signed bundles are verified from; None when none are accepted.
        target: The bundle's name in a signer's list of targets.
        compatible: The product that this gateway is; a bundle for other products is refused.
        inbox: Where an OTA pipeline drops bundles; None for ``inbox`` in the state directory.
        warn: How long before an anchor's end an alarm is raised, the longest first.
    """

    anchors: Path = DEFAULT_ANCHORS
    root: Path | None = None
    target: str = "anchors.pem"
    compatible: str | None = None
    inbox: Path | None = None
    warn: tuple[timedelta, ...] = (timedelta(days=180), timedelta(days=30), timedelta(days=7))


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """A certificate file or store of another program that is watched.

    Attributes:
        path: The file.
        warn: How long before the end of one of its certificates an alarm is raised.
    """

    path: Path
    warn: timedelta = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole file, as `source` has it to the letter."""

    path: Path
    endpoint: str
    port: int = 8883
    alpn: bool = False
    proxy: Proxy | None = None
    small_client_hello: bool = False
    thing_name: str | None = None
    client_id: str = "{thing}-cert-agent"
    state_dir: Path = DEFAULT_STATE_DIR
    runtime_dir: Path = DEFAULT_RUNTIME_DIR
    trust: TrustConfig = field(default_factory=TrustConfig)
    watch: tuple[WatchConfig, ...] = ()
    dependants: Dependants = field(default_factory=lambda: Dependants(hooks=Hooks(directory=DEFAULT_HOOKS)))
    deploy_dir: Path = DEFAULT_DEPLOY_DIR
    deploy_socket: Path = DEFAULT_DEPLOY_SOCKET
    key_algorithm: KeyAlgorithm = KeyAlgorithm.EC_P256
    subject: str | None = None
    vouched_clock: bool = False
    connect_timeout: timedelta = timedelta(seconds=60)
    request_timeout: timedelta = timedelta(seconds=30)
    enrollment: EnrollmentConfig | None = None
    rotation: RotationConfig = field(default_factory=RotationConfig)
    source: str = field(default="", repr=False)

    @property
    def target(self) -> Endpoint:
        """Where to connect."""
        return Endpoint(host=self.endpoint, port=self.port, alpn=self.alpn, proxy=self.proxy)

    @property
    def control_socket(self) -> Path:
        """Where the daemon takes requests."""
        return self.runtime_dir / "control.sock"

    @property
    def confirm_dir(self) -> Path:
        """Where the gateway's own application says that it works with a new set."""
        return self.runtime_dir / "confirm"

    @property
    def anchors(self) -> Path:
        """The baked trust anchors."""
        return self.trust.anchors

    @property
    def foundations(self) -> tuple[Path, ...]:
        """The files of others that are looked into whenever they change."""
        return (self.anchors, *(item.path for item in self.watch))

    @property
    def inbox(self) -> Path:
        """Where an OTA pipeline drops signed bundles."""
        return self.trust.inbox or self.state_dir / "inbox"

    @property
    def limits(self) -> Limits:
        """The patience and the budgets of a change."""
        return Limits(
            daily_limit=self.rotation.daily_limit,
            policy_patience=self.rotation.policy_patience,
            refusal_patience=self.rotation.refusal_patience,
            dependants_patience=self.rotation.dependants_patience,
            probation=self.rotation.probation,
            confirm=self.rotation.confirm,
        )

    def concerns(self, thing: str = "") -> list[str]:
        """Return what is to be said against the client ids, a sentence each; `thing` is the thing's name, if known."""
        enrolment = self.enrollment.client_id if self.enrollment else None
        return list(client_ids.concerns(self.client_id, enrolment, thing or self.thing_name or ""))

    @property
    def renewal_policy(self) -> RenewalPolicy:
        """When to rotate."""
        rotation = self.rotation
        return RenewalPolicy(before_expiry=rotation.before_expiry, max_age=rotation.max_age, window=rotation.window)


class _Section:
    """One mapping of the file; every getter notes a complaint and goes on with the default."""

    def __init__(self, node: yaml.Node | None, path: str, complaints: _Complaints) -> None:
        self._path = path
        self._complaints = complaints
        self._entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        self._known: set[str] = set()
        if isinstance(node, yaml.MappingNode):
            self._fill(node)
        elif node is not None:
            complaints.add(node, path, "a mapping (`key: value` lines)", node)

    def _fill(self, node: yaml.MappingNode) -> None:
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name in self._entries:
                self._complaints.note(key, self._name(name), "it stands here twice")
            self._entries[name] = (key, value)

    def _name(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def _get(self, key: str) -> yaml.Node | None:
        self._known.add(key)
        entry = self._entries.get(key)
        if entry is None or entry[1].tag == "tag:yaml.org,2002:null":
            return None
        return entry[1]

    def _complain(self, key: str, expected: str, node: yaml.Node) -> None:
        self._complaints.add(node, self._name(key), expected, node)

    def complain(self, key: str, expected: str) -> None:
        node = self._get(key)
        if node is not None:
            self._complain(key, expected, node)

    def has(self, key: str) -> bool:
        return self._get(key) is not None

    def section(self, key: str) -> _Section:
        return _Section(self._get(key), self._name(key), self._complaints)

    def require(self, *keys: str) -> None:
        for key in keys:
            if self._get(key) is None:
                self._complaints.missing(self._name(key))

    def text(self, key: str, pattern: re.Pattern[str] | None = None, expected: str = "text") -> str | None:
        node = self._get(key)
        if node is None:
            return None
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str" or not node.value:
            self._complain(key, f"{expected}{_quotes(node)}", node)
            return None
        if pattern is not None and pattern.fullmatch(node.value) is None:
            self._complain(key, expected, node)
            return None
        return str(node.value)

    def path(self, key: str, default: Path) -> Path:
        value = self.text(key, expected="an absolute path")
        if value is None:
            return default
        if not value.startswith("/") or "\0" in value:
            self.complain(key, "an absolute path")
            return default
        return Path(value)

    def number(self, key: str, default: int, low: int, high: int) -> int:
        node = self._get(key)
        if node is None:
            return default
        plain = isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:int" and node.value.isdecimal()
        if not plain or not low <= int(node.value[:12]) <= high:
            self._complain(key, f"a whole number from {low} to {high}", node)
            return default
        return int(node.value)

    def flag(self, key: str, *, default: bool) -> bool:
        node = self._get(key)
        if node is None:
            return default
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:bool":
            self._complain(key, "true or false", node)
            return default
        return node.value.lower() in {"true", "yes", "on"}

    def duration(self, key: str, default: timedelta) -> timedelta:
        node = self._get(key)
        if node is None:
            return default
        match = _DURATION.fullmatch(node.value) if isinstance(node, yaml.ScalarNode) else None
        if match is None:
            self._complain(key, "a duration such as 90s, 10m, 12h or 365d", node)
            return default
        return timedelta(seconds=int(match[1]) * _UNITS[match[2]])

    def durations(self, key: str, default: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
        node = self._get(key)
        if node is None:
            return default
        values = [item.value for item in node.value] if isinstance(node, yaml.SequenceNode) else []
        matches = [_DURATION.fullmatch(value) if isinstance(value, str) else None for value in values]
        spans = {timedelta(seconds=int(match[1]) * _UNITS[match[2]]) for match in matches if match}
        if not spans or None in matches:
            self._complain(key, "a list of durations such as [180d, 30d]", node)
            return default
        return tuple(sorted(spans, reverse=True))

    def choice(self, key: str, default: E) -> E:
        node = self._get(key)
        if node is None:
            return default
        members = {str(member): member for member in type(default)}
        if not isinstance(node, yaml.ScalarNode) or node.value not in members:
            self._complain(key, "one of " + ", ".join(members), node)
            return default
        return members[node.value]

    def sections(self, key: str) -> list[_Section]:
        node = self._get(key)
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._complain(key, "a list (`- ` lines)", node)
            return []
        return [_Section(item, f"{self._name(key)}[{number}]", self._complaints) for number, item in
                enumerate(node.value)]  # fmt: skip

    def mode(self, key: str, default: int) -> int:
        value = self.text(key, _MODE, 'a file mode such as "0640", in quotes')
        return default if value is None else int(value, 8)

    def command(self, key: str) -> tuple[str, ...]:
        node = self._get(key)
        if node is None:
            return ()
        words = [item.value for item in node.value] if isinstance(node, yaml.SequenceNode) else []
        sound = all(isinstance(word, str) and word and "\0" not in word for word in words)
        if not words or not sound or not words[0].startswith("/"):
            self._complain(key, "a list such as [/usr/bin/test, -e, /run/x], which begins with an absolute path,", node)
            return ()
        return tuple(words)

    def days(self, key: str) -> frozenset[int]:
        node = self._get(key)
        if node is None:
            return frozenset(range(len(DAYS)))
        values = [item.value for item in node.value] if isinstance(node, yaml.SequenceNode) else []
        if not values or not all(value in DAYS for value in values):
            self._complain(key, f"a list of {', '.join(DAYS)}", node)
            return frozenset()
        return frozenset(DAYS.index(value) for value in values)

    def hour(self, key: str) -> time:
        value = self.text(key, _TIME, 'a time of day such as "02:30"')
        return time.fromisoformat(value) if value else time()

    def zone(self, key: str) -> tzinfo:
        value = self.text(key, expected="a time zone such as Europe/Berlin")
        if value is None:
            return UTC
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - seldom needed

        try:
            return ZoneInfo(value)
        except (ValueError, OSError, KeyError):
            self.complain(key, "a time zone such as Europe/Berlin")
            return UTC

    def parameters(self, key: str) -> dict[str, str | FileValue]:
        inner = self.section(key)
        values: dict[str, str | FileValue] = {}
        for name in inner._entries:  # noqa: SLF001 - a section of the same kind
            node = inner._get(name)  # noqa: SLF001
            if isinstance(node, yaml.MappingNode):
                below = inner.section(name)
                below.require("file")
                values[name] = FileValue(path=below.path("file", Path("/")))
                below.finish()
            else:
                values[name] = inner.text(name, expected="text or {file: PATH}") or ""
        return values

    def finish(self) -> None:
        for name, (key, _) in self._entries.items():
            if name not in self._known:
                import difflib  # noqa: PLC0415 - needed for a mistake only

                near = difflib.get_close_matches(name, self._known, n=1)
                meant = f"; `{near[0]}` was probably meant" if near else ""
                self._complaints.note(key, self._name(name), f"there is no such key{meant}")


def _quotes(node: yaml.Node) -> str:
    return " (put it in quotes)" if isinstance(node, yaml.ScalarNode) and node.value else ""


class _Complaints:
    """What is wrong with the file, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[str] = []

    def add(self, at: yaml.Node, key: str, expected: str, found: yaml.Node) -> None:
        shown = found.value[:40] if isinstance(found, yaml.ScalarNode) else "a nested value"
        self.note(at, key, f"{expected} is expected, not {shown!r}")

    def note(self, at: yaml.Node, key: str, text: str) -> None:
        self.lines.append(f"{self._path}:{at.start_mark.line + 1}: {key or 'the file'}: {text}")

    def missing(self, key: str) -> None:
        self.lines.append(f"{self._path}: {key}: it is required and missing")

    def raise_if_any(self) -> None:
        if self.lines:
            raise ConfigError("\n".join(self.lines), hint="`iot-cert config check` checks the file again.")


def load(path: Path, *, allow_legacy: bool = False) -> Config:
    """Read the configuration file.

    Args:
        path: Where it is.
        allow_legacy: Let a legacy endpoint pass: only the doctor goes on, to see the rest.

    Raises:
        ConfigError: It cannot be read or says something impossible; one line for each complaint.
    """
    data = read_bounded(path, MAX_CONFIG, "configuration file")
    try:
        return parse(data.decode(), path, allow_legacy=allow_legacy)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is not UTF-8 text (byte {error.start})") from None


def parse(text: str, path: Path, *, allow_legacy: bool = False) -> Config:
    """Return what the text of a configuration file means.

    Args:
        text: What the file says, or said.
        path: Where it is, for complaints.
        allow_legacy: As for `load`.

    Raises:
        ConfigError: It says something impossible; one line for each complaint.
    """
    complaints = _Complaints(path)
    root = _Section(_compose(text, path), "", complaints)
    config = _read(root, path)
    root.finish()
    _check_endpoint(root, config, complaints, allow_legacy=allow_legacy)
    complaints.raise_if_any()
    return replace(config, source=text)


def _compose(text: str, path: Path) -> yaml.Node:
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: it is not sound YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{path}: it is not sound YAML: {str(error)[:120]}") from None
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: a mapping (`key: value` lines) is expected, at least `endpoint:`")
    return node


def read_bounded(path: Path, limit: int, what: str) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        ConfigError: It is missing, not permitted, no regular file or too large.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:  # `fdopen` refuses a directory, and leaves it open then
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigError(f"{path}: the {what} is not a regular file")
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(limit + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise ConfigError(f"{path}: the {what} cannot be read: {os.strerror(error.errno or 0)}") from None
    if len(data) > limit:
        raise ConfigError(f"{path}: the {what} is larger than the {limit // 1024} KiB allowed")
    return data


def read_secret(path: Path, what: str) -> bytes:
    """Return the content of a file that holds a key, which nobody else may be able to read.

    Raises:
        ConfigError: As `read_bounded`, or its mode is too open; the message has the exact `chmod`.
    """
    data = read_bounded(path, MAX_MATERIAL, what)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigError(f"{path}: the {what} may be read by others (mode {mode:04o})", hint=f"chmod 600 {path}")
    return data


def resolve(parameters: Mapping[str, str | FileValue]) -> dict[str, str]:
    """Return provisioning parameters with the content of the files they name.

    Raises:
        ConfigError: A file cannot be read, or holds nothing.
    """
    values = {}
    for name, value in parameters.items():
        if isinstance(value, FileValue):
            text = read_bounded(value.path, 4096, f"file for parameter {name}").decode(errors="replace").strip()
            if not text or not text.isprintable():
                raise ConfigError(f"{value.path}: the file for parameter {name} holds no plain text")
            values[name] = text
        else:
            values[name] = value
    return values


def _read(root: _Section, path: Path) -> Config:
    root.require("endpoint")
    defaults = Config(path=path, endpoint="")
    port = root.number("port", defaults.port, 1, 65535)
    timeouts, key = root.section("timeouts"), root.section("key")
    config = Config(
        path=path,
        endpoint=root.text("endpoint", expected="the account's ATS endpoint, a host name") or "",
        port=port,
        alpn=root.flag("alpn", default=port == ALPN_PORT),
        proxy=_proxy(root.section("proxy")) if root.has("proxy") else None,
        small_client_hello=root.flag("small_client_hello", default=False),
        thing_name=root.text("thing_name", THING, "a thing name of letters, digits and `:_-`"),
        client_id=root.text("client_id", expected="an MQTT client id, which may contain {thing}") or defaults.client_id,
        state_dir=root.path("state_dir", defaults.state_dir),
        runtime_dir=root.path("runtime_dir", defaults.runtime_dir),
        trust=_trust(root.section("trust")),
        watch=tuple(_watch(item) for item in root.sections("watch")),
        dependants=_dependants(root),
        deploy_dir=root.path("deploy_dir", defaults.deploy_dir),
        deploy_socket=root.path("deploy_socket", defaults.deploy_socket),
        key_algorithm=key.choice("algorithm", defaults.key_algorithm),
        subject=key.text("subject", expected="an RFC 4514 name such as CN=gw-0042,O=Example"),
        vouched_clock=root.flag("vouched_clock", default=False),
        connect_timeout=timeouts.duration("connect", defaults.connect_timeout),
        request_timeout=timeouts.duration("request", defaults.request_timeout),
        enrollment=_enrollment(root.section("enrollment")) if root.has("enrollment") else None,
        rotation=_rotation(root.section("rotation")),
    )
    for section in (timeouts, key):
        section.finish()
    return config


def _trust(section: _Section) -> TrustConfig:
    default = TrustConfig()
    trust = TrustConfig(
        anchors=section.path("anchors", default.anchors),
        root=section.path("root", Path("/")) if section.has("root") else None,
        target=section.text("target", TARGET, "a target's name, without a leading slash or dots") or default.target,
        compatible=section.text("compatible", PRODUCT, "a product's name of letters, digits and `._-`"),
        inbox=section.path("inbox", Path("/")) if section.has("inbox") else None,
        warn=section.durations("warn", default.warn),
    )
    section.finish()
    return trust


def _watch(section: _Section) -> WatchConfig:
    section.require("path")
    default = WatchConfig(path=Path("/"))
    watch = WatchConfig(path=section.path("path", default.path), warn=section.duration("warn", default.warn))
    section.finish()
    return watch


def _dependants(root: _Section) -> Dependants:
    found = Dependants(
        copies=tuple(_copy(item) for item in root.sections("copies")),
        hooks=_hooks(root.section("hooks")),
        units=tuple(_unit(item) for item in root.sections("dependants")),
    )
    for key, names in (
        ("copies", [item.to for item in found.copies]),
        ("dependants", [item.name for item in found.units]),
    ):
        if len(set(names)) < len(names) or len(names) > MAX_EACH:
            root.complain(key, f"each one once, and at most {MAX_EACH} of them,")
    return found


def _copy(section: _Section) -> Copy:
    section.require("to", "content")
    default = Copy(to=Path("/"), content=Content.CHAIN)
    copy = Copy(
        to=section.path("to", default.to),
        content=section.choice("content", default.content),
        format=section.choice("format", default.format),
        owner=section.text("owner", _ACCOUNT, "a user's name") or default.owner,
        group=section.text("group", _ACCOUNT, "a group's name") or default.group,
        mode=section.mode("mode", default.mode),
        password_file=section.path("password_file", Path("/")) if section.has("password_file") else None,
        heal=section.flag("heal", default=default.heal),
        on_failure=section.choice("on_failure", default.on_failure),
    )
    if copy.content not in FORMATS[copy.format]:
        section.complain(
            "format", f"one that can hold {copy.content}: DER holds one key or certificate, PKCS #12 a pair"
        )
    if copy.format is Format.PKCS12:
        section.require("password_file")
    section.finish()
    return copy


def _hooks(section: _Section) -> Hooks:
    default = Hooks(directory=DEFAULT_HOOKS)
    hooks = Hooks(
        directory=section.path("directory", default.directory),
        timeout=section.duration("timeout", default.timeout),
        user=section.text("user", _ACCOUNT, "a user's name") or default.user,
        on_failure=section.choice("on_failure", default.on_failure),
    )
    section.finish()
    return hooks


def _unit(section: _Section) -> Unit:
    section.require("unit")
    default, verify = Unit(name=""), section.section("verify")
    unit = Unit(
        name=section.text("unit", _UNIT, "a service's name with its suffix, such as mosquitto.service,") or "",
        action=section.choice("action", default.action),
        timeout=section.duration("timeout", default.timeout),
        healthy=section.duration("healthy", default.healthy),
        verify=Verification(
            tls=verify.text("tls", _ADDRESS, "host:port") or "",
            command=verify.command("command"),
            new_process=verify.flag("new_process", default=False),
        ),
        on_failure=section.choice("on_failure", default.on_failure),
    )
    if unit.name.startswith("iot-cert-agent"):
        section.complain("unit", "another unit than the agent's own")
    verify.finish()
    section.finish()
    return unit


def _proxy(section: _Section) -> Proxy:
    section.require("host", "port")
    proxy = Proxy(host=section.text("host") or "", port=section.number("port", 3128, 1, 65535))
    section.finish()
    return proxy


def _enrollment(section: _Section) -> EnrollmentConfig:
    section.require("template", "claim")
    section.text("method", re.compile("fleet-provisioning"), "fleet-provisioning, the one method so far,")
    claim = section.section("claim")
    if section.has("claim"):
        claim.require("certificate", "key")
    enrollment = EnrollmentConfig(
        template=section.text("template", _TEMPLATE, "a template name of at most 36 letters, digits, `_-`") or "",
        claim=ClaimConfig(certificate=claim.path("certificate", Path("/")), key=claim.path("key", Path("/"))),
        parameters=section.parameters("parameters"),
        client_id=section.text("client_id", expected="an MQTT client id"),
    )
    claim.finish()
    section.finish()
    return enrollment


def _rotation(section: _Section) -> RotationConfig:
    default = RotationConfig()
    template = section.text("template", _TEMPLATE, "a template name of at most 36 letters, digits, `_-`")
    rotation = RotationConfig(
        template=template or default.template,
        parameters=section.parameters("parameters"),
        max_age=section.duration("max_age", default.max_age),
        before_expiry=section.duration("before_expiry", default.before_expiry),
        window=section.duration("window", default.window),
        probation=section.duration("probation", default.probation),
        policy_patience=section.duration("policy_patience", default.policy_patience),
        refusal_patience=section.duration("refusal_patience", default.refusal_patience),
        dependants_patience=section.duration("dependants_patience", default.dependants_patience),
        confirm=_confirm(section),
        daily_limit=section.number("daily_limit", default.daily_limit, 1, 1000),
        keep=section.number("keep", default.keep, 0, 100),
        retire=section.flag("retire", default=default.retire),
        grace=section.duration("grace", default.grace),
        maintenance=tuple(_maintenance(item) for item in section.sections("maintenance")),
        inhibit_file=section.path("inhibit_file", Path("/")) if section.has("inhibit_file") else None,
        by_hand=section.choice("replaced_by_hand", default.by_hand),
    )
    section.finish()
    return rotation


def _confirm(section: _Section) -> timedelta | None:
    if not section.has("confirm"):
        return None
    span = section.duration("confirm", LONGEST_CONFIRM)
    if not timedelta() < span <= LONGEST_CONFIRM:
        section.complain("confirm", "a duration from 1s to 30d")
    return span


def _maintenance(section: _Section) -> MaintenanceWindow:
    section.require("from", "to")
    window = MaintenanceWindow(
        start=section.hour("from"), end=section.hour("to"), days=section.days("days"), zone=section.zone("time_zone")
    )
    section.finish()
    return window


def _check_endpoint(root: _Section, config: Config, complaints: _Complaints, *, allow_legacy: bool) -> None:
    node = root._get("endpoint")  # noqa: SLF001 - the same module
    if node is None or not config.endpoint:
        return
    if not is_host(config.endpoint):
        complaints.add(node, "endpoint", "a host name without scheme, port or path", node)
        return
    name = classify(config.endpoint)
    if name.kind is EndpointKind.LEGACY and not allow_legacy:
        text = (
            f"{config.endpoint} is the legacy endpoint, whose VeriSign chain root stores no longer trust; "
            f"use {name.instead}"
        )
        complaints.note(node, "endpoint", text)
