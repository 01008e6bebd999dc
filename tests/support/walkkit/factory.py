"""Gateways as they leave a factory or have lived for years: made by the real engine in this process, in no time."""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from agent.change.parts import ChangeParts, put_together
from agent.change.world import Settings, World
from agent.config.reader import load
from agent.core.change.decide import Limits
from agent.core.values import Kind, Origin, Provenance, TrustSource
from agent.crypto import x509
from agent.crypto.materials import SoftwareMaterials
from agent.operations.parameters import Parameters
from agent.operations.wiring import engine_settings
from agent.sandbox.account.authority import fingerprint
from agent.store.store import Store
from agent.system.clock import SystemClock
from support.publishing import signing
from support.running.gateway import PATIENT
from support.simulated.simulator import SimulatedEndpoint
from support.simulated.unheard import Unheard

if TYPE_CHECKING:
    from agent import ports
    from support.running.gateway import Gateway

SECOND_ROOT = "b"  # what the endpoint may move to, by its name at the sandbox's console


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a gateway is at the beginning of a story.

    Attributes:
        lived: What has become final so far, oldest first: ``enroll``, ``rotate``, ``union`` (anchors with the second
            root) and ``baked`` (those without it).
        names_thing: Whether the configuration names the thing.
        retires_at_once: Whether certificates left behind are retired without any grace.
        small_disk: Whether the state directory is on a disk of its own, which may be full.
        settings: More keys of the section `rotation`.
    """

    lived: tuple[str, ...] = ("enroll", "rotate")
    names_thing: bool = True
    retires_at_once: bool = False
    small_disk: bool = False
    settings: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Say it in a line."""
        words = [" ".join(self.lived) or "never enrolled", *(f"{key}={value}" for key, value in self.settings)]
        words += ["the configuration names the thing"] if self.names_thing else []
        words += ["no grace"] if self.retires_at_once else []
        words += ["small disk"] if self.small_disk else []
        return "; ".join(words)


def furnish(gateway: Gateway, start: Start) -> None:
    """Configure a gateway for a story, and let it have lived."""
    signer = signing.Publisher(datetime.now(UTC))
    place = gateway.directory / "signer"
    place.mkdir()
    (place / "root.json").write_bytes(signer.first_root)
    gateway.order(f"root new {SECOND_ROOT}")
    union = union_pem(gateway)
    (place / "bundle.tar").write_bytes(signing.archive(signer.publish(union)))
    thing = "thing_name: gw-0042\n" if start.names_thing else ""
    gateway.configure(
        {
            "trust:\n": f"{thing}trust:\n  root: {place}/root.json\n",
            "connect: 20s": "connect: 8s",
            PATIENT: "request: 5s",  # stories have all faults
        }
    )
    gateway.rotation(
        **{"policy_patience": "3s", "daily_limit": str(BUDGET)}
        | ({"grace": "0s"} if start.retires_at_once else {})
        | dict(start.settings)
    )
    if start.lived:
        _live(gateway, start.lived, union)


BUDGET = 30  # certificates a day; more than any sound story needs


def union_pem(gateway: Gateway) -> bytes:
    """Return both roots."""
    return b"".join(gateway.console.roots[root].pem for root in ("a", SECOND_ROOT))


def _live(gateway: Gateway, lived: tuple[str, ...], union: bytes) -> None:
    gateway.state.mkdir(mode=0o700, exist_ok=True)
    endpoint = SimulatedEndpoint(
        cloud=gateway.cloud, root_sha256=fingerprint(gateway.service.endpoint_authority.certificate)
    )
    config = load(gateway.config)
    wanted = engine_settings(config, Parameters(config))
    settings = replace(wanted, limits=Limits(probation=timedelta(), daily_limit=1000))
    with Store(gateway.state) as store:
        store.lock()
        world = World(
            clock=SystemClock(vouched=True),
            store=store,
            cloud=cast("ports.CloudEndpoint", endpoint),
            materials=SoftwareMaterials(),
            reporter=Unheard(),
            chance=lambda: 0.5,
            new_id=lambda: secrets.token_hex(4),
        )
        parts = put_together(world, settings)
        with closing(parts.engine):
            parts.engine.recover()
            for what in lived:
                _change(parts, settings, what, union)
    gateway.cloud.detach(endpoint)


def _change(parts: ChangeParts, settings: Settings, what: str, union: bytes) -> None:
    if what in {"enroll", "rotate"}:
        parts.planner.begin(Kind(what), Origin.SCHEDULE, "years ago")
    elif what == "union":
        provenance = Provenance(source=TrustSource.BUNDLE, version=1)
        parts.planner.install(replace(x509.read_bundle(union), provenance=provenance), Origin.INBOX, "years ago")
    else:
        parts.planner.install(settings.anchors(), Origin.IMAGE, "years ago")
    outcome = parts.engine.run()
    assert outcome.wait is None, outcome
    assert outcome.record.phase.succeeded, outcome
