"""What the configuration says, as frozen values; what the other rooms read.

A default stands once. Where the core has one of its own (`Limits`, `RenewalPolicy`, `Copy`, `Unit`, ...), the core owns
it, because it must make sense without a file, and what stands here refers to it. What only a gateway knows, such as a
directory, is owned here. `agent.config.schema` reads defaults from these classes and states none again.
"""

from __future__ import annotations

import os
from dataclasses import field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.aws import client_ids
from agent.core.aws.endpoints import MQTT_PORT, Endpoint, Proxy
from agent.core.change.decide import Limits
from agent.core.dependants import Dependants, GateCommands, Hooks
from agent.core.failure.readmission import TOKEN
from agent.core.frozen import frozen
from agent.core.values import ByHand, KeyAlgorithm, OnChange
from agent.core.when.maintenance import MissingZone
from agent.core.when.renewal import RenewalPolicy
from agent.core.when.schedule import Holds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.core.when.looks import Looks
    from agent.core.when.maintenance import MaintenanceWindow
    from agent.core.when.schedule import Pause

DEFAULT_STATE_DIR = Path("/var/lib/iot-cert-agent")
DEFAULT_RUNTIME_DIR = Path("/run/iot-cert-agent")
HOOKS_DIRECTORY = Path("/etc/iot-cert-agent/hooks.d")
DEFAULT_DEPLOY_DIR = Path("/var/lib/iot-cert-agent-deploy")
DEFAULT_DEPLOY_SOCKET = Path("/run/iot-cert-agent-deploy.sock")
DEFAULT_ANCHORS = Path("/usr/share/iot-cert-agent/amazon-roots.pem")
GATES_DIRECTORY = Path("/etc/iot-cert-agent/gates.d")
DEFAULT_DEPENDANTS = Dependants(hooks=Hooks(directory=HOOKS_DIRECTORY), gates=GateCommands(directory=GATES_DIRECTORY))


@frozen
class FileValue:
    """A parameter whose value is what a file holds, white space at the ends removed."""

    path: Path


@frozen
class ClaimConfig:
    """The claim credential."""

    certificate: Path
    key: Path


class Method(StrEnum):
    """Ways to the first certificate."""

    FLEET_PROVISIONING = "fleet-provisioning"
    VENDING_MACHINE = "vending-machine"


@frozen
class EnrollmentConfig:
    """How the first certificate is got.

    Attributes:
        method: Which of these are there: by fleet provisioning `template` and `claim`, by a vending machine `url` and
            `token`.
        template: The provisioning template, or empty.
        claim: The claim credential, or None.
        parameters: Of the template; for a vending machine the serial number alone.
        client_id: The client id of the claim, or None.
        url: Where the vending machine is asked, or empty.
        token: The file that holds its token, or None.
        ca: The file of the authorities that verify the vending machine; None for the trust anchors.
    """

    method: Method = Method.FLEET_PROVISIONING
    template: str = ""
    claim: ClaimConfig | None = None
    parameters: Mapping[str, str | FileValue] = field(default_factory=dict)
    client_id: str | None = None
    url: str = ""
    token: FileValue | None = None
    ca: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it takes."""
        certificate = None if self.claim is None else self.claim.certificate
        return tuple(path for path in (certificate, self.secret, self.ca) if path is not None)

    @property
    def secret(self) -> Path | None:
        """The file that is to be kept from others: the claim's key, or the token."""
        if self.token is not None:
            return self.token.path
        return None if self.claim is None else self.claim.key

    @property
    def token_place(self) -> str:
        """Where the token is looked for, a file or a key of the configuration; empty where none is shown."""
        shown = self.token or self.parameters.get(TOKEN)
        if isinstance(shown, FileValue):
            return str(shown.path)
        return f"`enrollment.parameters.{TOKEN}`" if shown else ""


@frozen
class RotationConfig:
    """How and when the next ones are got. Attributes as in the file."""

    template: str = "gateway-rotation"
    parameters: Mapping[str, str | FileValue] = field(default_factory=dict)
    max_age: timedelta = RenewalPolicy.max_age
    before_expiry: timedelta = RenewalPolicy.before_expiry
    window: timedelta = RenewalPolicy.window
    probation: timedelta = Limits.probation
    policy_patience: timedelta = Limits.policy_patience
    refusal_patience: timedelta = Limits.refusal_patience
    dependants_patience: timedelta = Limits.dependants_patience
    confirm: timedelta | None = Limits.confirm
    daily_limit: int = Limits.daily_limit
    keep: int = 3
    retire: bool = True
    grace: timedelta = timedelta(days=7)
    maintenance: tuple[MaintenanceWindow, ...] = ()
    inhibit_file: Path | None = None
    by_hand: ByHand = ByHand.ADOPT
    on_change: OnChange = OnChange.WAIT

    def holds(self, pause: Pause | None) -> Holds:
        """Return what may hold a change that is due, with the inhibit file as it is now."""
        there = self.inhibit_file is not None and os.path.exists(self.inhibit_file)  # noqa: PTH110 - Path's raises where no user may look
        inhibited = str(self.inhibit_file) if there else ""
        return Holds(pause=pause, inhibited_by=inhibited, windows=self.maintenance)


@frozen
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


@frozen
class WatchConfig:
    """A certificate file or store of another program that is watched.

    Attributes:
        path: The file.
        warn: How long before the end of one of its certificates an alarm is raised.
    """

    path: Path
    warn: timedelta = timedelta(days=30)


@frozen
class NoticesConfig:
    """The operator's command that is told what is wrong with the gateway, and what no longer is.

    Attributes:
        command: The program, by an absolute path, and its arguments.
    """

    command: tuple[str, ...]


@frozen
class Config:
    """The whole file, as `source` has it to the letter; `session` is None where it is there always."""

    path: Path
    endpoint: str
    port: int = MQTT_PORT
    alpn: bool = False
    proxy: Proxy | None = None
    small_client_hello: bool = False
    thing_name: str | None = None
    client_id: str = "{thing}-cert-agent"
    fresh_connection: timedelta = timedelta(days=1)
    session: Looks | None = None
    state_dir: Path = DEFAULT_STATE_DIR
    runtime_dir: Path = DEFAULT_RUNTIME_DIR
    trust: TrustConfig = field(default_factory=TrustConfig)
    watch: tuple[WatchConfig, ...] = ()
    notices: NoticesConfig | None = None
    dependants: Dependants = DEFAULT_DEPENDANTS
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
        whole = self.connect_timeout.total_seconds()
        return Endpoint(
            host=self.endpoint,
            port=self.port,
            alpn=self.alpn,
            proxy=self.proxy,
            timeout=min(Endpoint.timeout, whole),
            whole=whole,
        )

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
    def named(self) -> Iterator[tuple[str, Path]]:
        """The files that it names for the agent to read or to run: the key that names each, and it."""
        yield "trust.anchors", self.anchors
        yield from (("watch", item.path) for item in self.watch)
        if self.trust.root is not None:
            yield "trust.root", self.trust.root
        if self.proxy is not None and self.proxy.password_file is not None:
            yield "proxy.password_file", self.proxy.password_file
        if self.notices is not None:
            yield "notices.command", Path(self.notices.command[0])

    @property
    def to_enrol_with(self) -> EnrollmentConfig | None:
        """What the agent may yet enrol with; None where there is nothing, or it has enrolled by a claim."""
        enrollment = self.enrollment
        enrolled = os.path.islink(self.state_dir / "current")  # noqa: PTH114 - Path's raises for who may not look
        return enrollment if enrollment and (enrollment.token or not enrolled) else None  # a token is for a rescue, too

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
            gates_patience=self.dependants.gates.patience if self.dependants.gates else Limits.gates_patience,
        )

    @property
    def missing_zones(self) -> tuple[str, ...]:
        """What is to be said of time zones that this machine does not have, a sentence each."""
        zones = (window.zone for window in self.rotation.maintenance)
        names = dict.fromkeys(zone.name for zone in zones if isinstance(zone, MissingZone))
        return tuple(f"This machine has no time zone {name!r}: its hours are taken as UTC." for name in names)

    def concerns(self, thing: str = "") -> list[str]:
        """Return what is to be said against the client ids, a sentence each; `thing` is the thing's name, if known."""
        enrolment = self.enrollment.client_id if self.enrollment else None
        return list(client_ids.concerns(self.client_id, enrolment, thing or self.thing_name or ""))

    @property
    def renewal_policy(self) -> RenewalPolicy:
        """When to rotate."""
        rotation = self.rotation
        return RenewalPolicy(before_expiry=rotation.before_expiry, max_age=rotation.max_age, window=rotation.window)
