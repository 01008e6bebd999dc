"""Puts the parts together for one process: configuration, store, engine and the real world's ports.

The cryptography library is imported here, when a verb needs it, and not before; the SDK with the first connection.
"""

from __future__ import annotations

import os
import random
import secrets
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent.change.parts import ChangeParts, put_together
from agent.change.source import by_known_anchors
from agent.change.world import NoDependants, Provisioning, Settings, Vending, World
from agent.config.files import MAX_MATERIAL, read_bounded, read_secret
from agent.core.aws import client_ids
from agent.core.failure import readmission
from agent.core.frozen import frozen
from agent.core.text import clock_time
from agent.core.text_files import LOST, NoTextError, value_of
from agent.core.trust.updates import baked_provenance
from agent.core.values import Candidate
from agent.errors import ConfigError, MaterialError, RefusedError
from agent.operations.made_with import made_with
from agent.operations.opening import clock_of, open_store
from agent.operations.parameters import Parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from agent.config.values import Config, EnrollmentConfig
    from agent.core.values import CertificateFacts, TrustBundle, User
    from agent.dependants.deployer import Deployer
    from agent.dependants.helper import Helper
    from agent.iotcore.broker import Broker
    from agent.iotcore.client_options import Connector, Timeouts
    from agent.ports import Confirmations, Deployment, Gates, Reporter, Session
    from agent.store.store import Store
    from agent.system.clock import SystemClock

T = TypeVar("T")

MACHINE_ID = Path("/etc/machine-id")

PUT_ANCHORS_BACK = "Put back what the package or the OS image came with."
_ANOTHER_TOKEN = "Put the token of `iot-cert cloud arm` or `readmit` into that file."  # noqa: S105 - a hint


@frozen
class Parts:
    """What carries changes, and what it was made of."""

    change: ChangeParts
    store: Store
    broker: Broker
    clock: SystemClock
    parameters: Parameters


def deployment(config: Config) -> Deployment:
    """Return who serves the dependants: this process when it is root, else the helper that is."""
    from agent.dependants.report_file import any_configured  # noqa: PLC0415

    return _served_by(config) if any_configured(config.dependants) else NoDependants()


def _served_by(config: Config) -> Deployer | Helper:
    from agent.dependants.report_file import names  # noqa: PLC0415

    if os.geteuid() == 0:
        from agent.dependants.deployer import Deployer  # noqa: PLC0415

        return Deployer(config.dependants, config.state_dir, config.deploy_dir)
    from agent.dependants.helper import Helper  # noqa: PLC0415

    return Helper(config.deploy_socket, names(config.dependants))


def gates(config: Config) -> Gates | None:
    """Return who asks the operator's gates; None where there is none."""
    from agent.dependants.hooks import any_in  # noqa: PLC0415

    asked = config.dependants.gates
    return _served_by(config) if asked is not None and any_in(asked.directory) else None


def confirmations(config: Config) -> Confirmations:
    """Return where the gateway's own application says that it works with a new set."""
    from agent.store.notes.confirmations import ConfirmationDirectory  # noqa: PLC0415

    return ConfirmationDirectory(config.confirm_dir)


@contextmanager
def open_parts(
    config: Config, reporter: Reporter, *, create: bool = False, asked_by: User | None = None
) -> Iterator[Parts]:
    """Open the store, become its writer, and build the engine on it.

    Args:
        config: The configuration.
        reporter: Where to tell.
        create: Whether to make the state directory when there is none.
        asked_by: The user whose order is carried out, if it is a user's.

    Raises:
        StoreError: The store cannot be had, StoreBusyError above all.
    """
    from agent.crypto.materials import SoftwareMaterials  # noqa: PLC0415
    from agent.iotcore.broker import Broker  # noqa: PLC0415
    from agent.store.files.ownership import become_owner  # noqa: PLC0415
    from agent.system.clock import SystemClock  # noqa: PLC0415

    _find_state(config, create=create)
    parameters = Parameters(config)
    with ExitStack() as stack:
        become_owner(config.state_dir)
        store = stack.enter_context(open_store(config))
        store.lock()
        clock = SystemClock(vouched=config.vouched_clock)
        broker = Broker(lambda: _connector(config))
        stack.callback(broker.close)
        world = World(
            clock=clock,
            store=store,
            cloud=broker,
            materials=SoftwareMaterials(algorithm=config.key_algorithm, subject=config.subject),
            reporter=reporter,
            chance=random.SystemRandom().random,
            new_id=lambda: secrets.token_hex(4),
            dependants=deployment(config),
            confirmations=confirmations(config),
            gates=gates(config),
            asked_by=asked_by,
        )
        change = put_together(world, engine_settings(config, parameters))
        stack.callback(change.engine.close)
        yield Parts(change=change, store=store, broker=broker, clock=clock, parameters=parameters)


def _connector(config: Config) -> Connector:
    from agent.iotcore.client_options import Connector  # noqa: PLC0415

    return Connector(config.target, _waits(config), small_client_hello=config.small_client_hello)


def _waits(config: Config) -> Timeouts:
    from agent.iotcore.client_options import timeouts_of  # noqa: PLC0415

    return timeouts_of(config.connect_timeout, config.request_timeout)


def _find_state(config: Config, *, create: bool) -> None:
    from agent.store.files.directories import create_path  # noqa: PLC0415
    from agent.store.files.disk import explained  # noqa: PLC0415

    if create:
        create_path(config.state_dir)
    with explained(f"look for {config.state_dir}"):
        found = config.state_dir.exists() or config.state_dir.is_symlink()
    if not found:
        message = f"This gateway has no certificate yet: {config.state_dir} does not exist."
        raise RefusedError(message, hint="Run `iot-cert enroll`.")


def engine_settings(config: Config, parameters: Parameters) -> Settings:
    """Return what the configuration means to the engine; no file that it names is read yet."""
    enrollment, rotation, first = config.enrollment, config.rotation, parameters.enrolment
    return Settings(
        enrollment=None if enrollment is None else Provisioning(template=enrollment.template, parameters=first),
        rotation=Provisioning(template=rotation.template, parameters=parameters.rotation),
        client_id=lambda thing: client_ids.made(config.client_id, thing),
        claim=lambda anchors: load_claim(config, anchors),
        vending=_vending(config, first),
        anchors=lambda: load_anchors(config),
        thing_name=config.thing_name,
        limits=config.limits,
        renewal=config.renewal_policy,
        keep=rotation.keep,
        retire=rotation.retire,
        made_with=lambda key_pem: made_with(config, key_pem),
        distrust=distrust,
    )


def distrust(anchor: CertificateFacts) -> str:
    """Return why a trust anchor is distrusted, as a clause, or an empty text."""
    from agent.crypto.root_lists import known  # noqa: PLC0415 - see the module's docstring

    return known().distrust_of(anchor)


def load_anchors(config: Config) -> TrustBundle:
    """Return the trust anchors that the configuration names.

    Raises:
        MaterialError: They cannot be read or used.
    """
    from agent.crypto import x509  # noqa: PLC0415

    data = _read(config.anchors, "trust anchors file")
    bundle = _usable(str(config.anchors), lambda: x509.read_anchors(data), PUT_ANCHORS_BACK)
    return replace(bundle, provenance=baked_provenance(data))


def load_claim(config: Config, anchors: TrustBundle) -> Candidate:
    """Return the claim certificate as something to connect with, by these anchors.

    Raises:
        MaterialError: It cannot be read or used.
        RefusedError: None is configured.
    """
    from agent.crypto import claim_files  # noqa: PLC0415

    if config.enrollment is None or config.enrollment.claim is None:
        raise RefusedError("No claim certificate is configured.", hint="Add `enrollment:` to the configuration.")
    claim = config.enrollment.claim
    key_pem = _filled(claim.key, "claim key", lambda: read_secret(claim.key, "claim key"))
    certificate_pem = _read(claim.certificate, "claim certificate")
    return Candidate(
        name="the claim certificate",
        credential=claim_files.credential_of((claim.certificate, certificate_pem), (claim.key, key_pem)),
        trust=anchors,
        client_id=config.enrollment.client_id or _enrollment_client_id(config),
        thing_name=None,
    )


def usable_claim(config: Config) -> Candidate:
    """Return the claim certificate where nothing that is known here speaks against it; the daemon tries any.

    Raises:
        MaterialError: It cannot be read or used, or has expired by a clock that is synchronised.
        RefusedError: None is configured.
    """
    claim = load_claim(config, load_anchors(config))
    now, ends = clock_of(config).reference_time, claim.credential.leaf.not_after
    if now is not None and ends <= now and config.enrollment is not None and config.enrollment.claim is not None:
        path = config.enrollment.claim.certificate
        text = f"{path}: the claim certificate expired at {clock_time(ends)}: a valid one has to take its place"
        raise MaterialError(f"{text}, with its key")
    return claim


def check_enrolment(config: Config) -> str:
    """Return what a first certificate is asked for with, for people, once it can be used.

    Raises:
        MaterialError: It cannot be read or used.
        RefusedError: None is configured.
    """
    if config.enrollment is None or config.enrollment.token is None:
        return usable_claim(config).name
    load_token(config.enrollment.token.path)
    _authorities(config, config.enrollment)
    return "the token"


def load_token(path: Path) -> str:
    """Return the token for the vending machine.

    Raises:
        MaterialError: It cannot be read or used.
    """
    try:
        return value_of(read_secret(path, "token"))
    except ConfigError as error:
        raise MaterialError(str(error), hint=error.hint_or(_ANOTHER_TOKEN)) from error
    except NoTextError as error:
        raise MaterialError(f"{path}: the token cannot be used: {error}", hint=_ANOTHER_TOKEN) from None


def _authorities(config: Config, enrollment: EnrollmentConfig, *others: TrustBundle) -> tuple[TrustBundle, ...]:
    """Return who may verify the vending machine: what is configured for it, else the anchors, `others` behind them."""
    from agent.crypto import x509  # noqa: PLC0415

    if enrollment.ca is None:
        try:
            return load_anchors(config), *others
        except MaterialError:
            if not others:
                raise
            return others
    data = _read(enrollment.ca, "file of the vending machine's authorities")
    return (_usable(str(enrollment.ca), lambda: x509.read_anchors(data), "See `enrollment.ca`."),)


def _vending(config: Config, enrolled_with: Callable[[], Mapping[str, str]]) -> Vending | None:
    enrollment = config.enrollment
    if enrollment is None or enrollment.token is None:
        return None
    from agent.iotcore.vending import Machine, Purse, connect  # noqa: PLC0415
    from agent.store.files import secret_files  # noqa: PLC0415

    path = enrollment.token.path

    def machine(authorities: TrustBundle) -> Machine:
        return Machine(url=enrollment.url, authorities=authorities, proxy=config.proxy, timeouts=_waits(config))

    def open_session(anchors: TrustBundle) -> Session:
        purse = Purse(serial=enrolled_with()[readmission.SERIAL], token=load_token(path))
        known = _authorities(config, enrollment, anchors)
        return by_known_anchors(known, lambda found: connect(machine(found), purse, config.target, anchors))

    return Vending(
        connect=open_session,
        laid=lambda: secret_files.touched(path),
        spend=lambda: str(path) if secret_files.remove(path) else None,
        readmit=readmission.command(readmission.serial_of(enrollment.parameters)),
    )


def _enrollment_client_id(config: Config) -> str:
    """Return a client id for before there is a thing."""
    if config.thing_name is not None:
        return client_ids.made(config.client_id, config.thing_name)
    machine = b""
    with suppress(OSError):
        machine = MACHINE_ID.read_bytes()
    return client_ids.unnamed(machine, secrets.token_bytes(16))


def _read(path: Path, what: str) -> bytes:
    return _filled(path, what, lambda: read_bounded(path, MAX_MATERIAL, what))


def _filled(path: Path, what: str, read: Callable[[], bytes]) -> bytes:
    """Return what a file holds; where there is nothing the material is at fault, as a change may be under way."""
    try:
        data = read()
    except ConfigError as error:
        raise MaterialError(str(error), hint=error.hint, general=error.general) from error
    if not data.strip(LOST):
        raise MaterialError(f"{path}: the {what} is empty", hint="Copy it again.")
    return data


def _usable(source: str, parse: Callable[[], T], remedy: str) -> T:
    try:
        return parse()
    except MaterialError as error:
        message = str(error) if source in str(error) else f"{source}: {error}"
        raise MaterialError(message, hint=error.hint or remedy) from error
