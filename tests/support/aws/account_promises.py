"""What holds of the account whatever happens to it, and the events of which that is said."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.backend.values import DeviceState, Status
from support.aws.account import SETTINGS

if TYPE_CHECKING:
    from datetime import date, datetime

    from support.aws.account import World

SERIALS = ("0001", "0002")
THINGS = [f"gw-{serial}" for serial in SERIALS]
FOLLOWERS = ("0003", "0004")  # the serial numbers of the devices that may replace those
THING_OF = dict(zip((*SERIALS, *FOLLOWERS), THINGS * 2, strict=True))


@dataclass(frozen=True)
class Registration:
    """RegisterThing, which may be repeated for as long as its ownership token lives."""

    template: str
    caller: str
    certificate: str
    parameters: tuple[tuple[str, str], ...]
    at: datetime


@dataclass(frozen=True)
class Request:
    """A retirement, which the rule may deliver at any time and more than once."""

    thing: str
    caller: str
    target: str


@dataclass(frozen=True)
class Purchase:
    """A request to the vending machine, which may be sent at any time and more than once."""

    serial: str
    token: str
    name: str


@dataclass
class Past:
    """What has happened to the account so far.

    Attributes:
        made: Every certificate, in order.
        used: Those with which a gateway has connected.
        by_serial: The things that each serial number was admitted as.
        registrations: What was registered, delivered or not.
        requests: Which retirements were asked for.
        purchases: What was bought.
        rescued: What the operator has made active again.
        minted: What each thing got by rotation on each day.
        forgotten: What AWS has deleted, since it was not registered in time.
    """

    made: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    by_serial: dict[str, set[str]] = field(default_factory=lambda: {serial: set() for serial in THING_OF})
    registrations: list[Registration] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    purchases: list[Purchase] = field(default_factory=list)
    rescued: set[str] = field(default_factory=set)
    minted: dict[tuple[str, date], set[str]] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)


class Promises:
    """The promises of the account's side, by what there was before a step and what there is after it."""

    def __init__(self, world: World, past: Past) -> None:
        self.world, self.past = world, past
        self.ever_active: set[str] = set()
        self.before: dict[str, Status] = {}
        self.things_before: dict[str, tuple[str, ...]] = {}
        self.inactive_since: dict[str, datetime] = {}

    def hold(self) -> None:
        """Look at each of them."""
        self.a_thing_with_a_used_active_certificate_keeps_one()
        self.nothing_but_the_thing_itself_loses_it_a_certificate()
        self.a_token_admits_one_identity()
        self.nothing_is_deleted_that_was_not_retired()
        self.nothing_is_active_again_but_by_the_operator()
        self.a_thing_has_no_more_certificates_a_day_than_allowed()
        self.the_rows_are_sound()

    def a_thing_with_a_used_active_certificate_keeps_one(self) -> None:
        """Whatever is asked, in whatever order."""
        for thing in THINGS:
            had = {name for name, status in self.before.items() if status is Status.ACTIVE} & self.past.used
            if any(thing in self.things_before.get(name, ()) for name in had):
                assert self.world.active(thing) & self.past.used, thing

    def nothing_but_the_thing_itself_loses_it_a_certificate(self) -> None:
        """Each deactivation was asked for by another certificate of the same thing."""
        for name, status in self.before.items():
            if status is Status.ACTIVE and self.world.status(name) is not Status.ACTIVE:
                things = self.things_before[name] or self.world.registry.things_of(name)
                record = self.world.store.records[name]
                assert Request(record.thing, record.retired_by, name) in self.past.requests or self._was_replaced(name)
                assert not self._is_a_followers(name) or self._is_a_followers(record.retired_by)
                assert not things or (record.thing,) == things
                assert record.retired_by != name
                assert self.world.store.records[record.retired_by].thing == record.thing

    def _was_replaced(self, name: str) -> bool:
        """Whether a certificate is of a device that was replaced, and was retired over one of the other's."""
        record = self.world.store.records[name]
        return self._is_a_followers(record.retired_by) and not self._is_a_followers(name)

    def _is_a_followers(self, name: str) -> bool:
        """Whether a certificate is of the device that has replaced the one before, by what was there when it did."""
        record = self.world.store.records[name]
        row = self.world.store.replaced.get(record.thing)
        return row is not None and record.serial == row.serial and name not in row.before

    def a_token_admits_one_identity(self) -> None:
        """One thing for each serial number, and one thing for each certificate."""
        for serial, things in self.past.by_serial.items():
            assert things <= {THING_OF[serial]}
        assert all(len(entry.things) <= 1 for entry in self.world.registry.entries.values())
        assert self.world.registry.things <= set(THINGS)

    def nothing_is_deleted_that_was_not_retired(self) -> None:
        """And kept for as long as the operator wants; what was never sold is of no use."""
        gone = {name for name in self.before if self.world.status(name) is None} - self.past.forgotten
        for name in gone & self.ever_active:
            assert self.before[name] is Status.INACTIVE
            assert self.world.now - self.inactive_since[name] >= SETTINGS.keep

    def nothing_is_active_again_but_by_the_operator(self) -> None:
        """Registering a retired certificate once more does not help a thief."""
        for name, status in self.before.items():
            if status is Status.INACTIVE and self.world.status(name) is Status.ACTIVE:
                assert name in self.past.rescued or name not in self.ever_active

    def a_thing_has_no_more_certificates_a_day_than_allowed(self) -> None:
        """By rotation; purchases are counted by the token's row."""
        assert all(len(names) <= SETTINGS.daily_limit for names in self.past.minted.values())

    def the_rows_are_sound(self) -> None:
        """What the rows say of themselves."""
        for device in self.world.store.devices.values():
            assert len(device.bought) <= 5
            assert device.state is not DeviceState.BOUGHT or device.bought

    def look(self) -> None:
        """Remember how things are, for the next step."""
        entries = self.world.registry.entries
        for name, entry in entries.items():
            if entry.certificate.status is Status.INACTIVE and self.before.get(name) is not Status.INACTIVE:
                self.inactive_since[name] = self.world.now
                self.past.rescued.discard(name)
        self.before = {name: entry.certificate.status for name, entry in entries.items()}
        self.ever_active |= {name for name, status in self.before.items() if status is Status.ACTIVE}
        self.things_before = {name: tuple(entry.things) for name, entry in entries.items()}
