"""The account as a whole: gateways, a thief, the sweep and the operator, with events that repeat, overtake and fail.

Each rule does one thing; `deliver` has a request carried out, once more, late, within another one, or with a step that
fails. After each, the promises of the account's side are looked at.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.backend.errors import BackendError
from agent.backend.values import Status
from support import make
from support.aws.account import CLAIM, DAY, HOUR, MINUTE, OWN, World, intrude, request
from support.aws.account_promises import (
    FOLLOWERS,
    SERIALS,
    THING_OF,
    THINGS,
    Past,
    Promises,
    Purchase,
    Registration,
    Request,
)
from support.suite import campaigns

if TYPE_CHECKING:
    from datetime import timedelta

APPLICATION = "application"
ITSELF = 4
LATEST = st.integers(0, 10)  # one of the latest of what there is by then


class AccountMachine(RuleBasedStateMachine):
    """Two gateways, of which each may be a thief to the other, and a thief with the claim certificate."""

    @initialize()
    def start(self) -> None:
        """Arm and enrol both gateways; one of them has an application with rights of its own."""
        self.world = World()
        self.past = Past()
        self.promises = Promises(self.world, self.past)
        for serial in SERIALS:
            self.world.arm(serial, f"token {serial}")
            self.past.used.add(self._issue())
            assert self.world.enrol(self.past.made[-1], serial, f"token {serial}")
        self.world.registry.attach_policy(APPLICATION, self.past.made[0])
        for caller in self.past.made[:2]:
            assert self.world.rotate(caller, self._issue())
        self.promises.look()

    def _issue(self) -> str:
        self.past.made.append(self.world.issue())
        return self.past.made[-1]

    # -- what is asked for ---------------------------------------------------------------------------------------------

    def _active(self, thing: int) -> list[str]:
        """Return what a gateway can connect with, in order of issue; the second name is for the other gateway."""
        return sorted(self.world.active(THINGS[thing % 2]), key=self.past.made.index)

    @rule(number=st.integers(0, 1), token=st.sampled_from([0, 0, 0, 1]), now=st.booleans())
    def enrol(self, number: int, token: int, now: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        """A gateway, or a thief with the claim certificate and the other one's token; maybe delivered later."""
        serial, owner = SERIALS[number], SERIALS[(number + token) % 2]
        parameters = (("SerialNumber", serial), ("RegistrationToken", f"token {owner}"))
        self.past.registrations.append(Registration("gateway", CLAIM, self._issue(), parameters, self.world.now))
        if now:
            self._carry_out(self.past.registrations[-1])

    @rule(number=st.integers(0, 1), token=st.sampled_from([0, 0, 0, 1]), name=st.integers(0, 3), now=st.booleans())
    def buy(self, number: int, token: int, name: int, now: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        """A gateway, or a thief with the other one's token, asks the vending machine; maybe delivered later."""
        asked = Purchase(SERIALS[number], f"token {SERIALS[(number + token) % 2]}", f"request {name}")
        self.past.purchases.append(asked)
        if now:
            self._carry_out(asked)

    @rule(number=st.integers(0, 1), which=LATEST, name=st.sampled_from([None, None, 0, 1]), now=st.booleans())
    def rotate(self, number: int, which: int, name: int | None, now: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        """With any certificate that can connect, and any name; maybe delivered later."""
        active = self._active(number)
        if active:
            caller = active[-1 - which % len(active)]
            self.past.used.add(caller)
            parameters = () if name is None else (("ThingName", THINGS[name]),)
            asked = Registration("gateway-rotation", caller, self._issue(), parameters, self.world.now)
            self.past.registrations.append(asked)
            if now:
                self._carry_out(asked)

    @rule(number=st.integers(0, 1), which=LATEST, other=LATEST, twist=st.sampled_from([0] * 8 + [1, 2, 3, ITSELF]))
    def retire(self, number: int, which: int, other: int, twist: int) -> None:
        """With any certificate that can connect: of its own, of the other gateway's, on the other gateway's topic."""
        active, attached = self._active(number), self.world.registry.certificates_of(THINGS[number ^ (twist & 1)]) or ()
        caller = active[-1 - which % len(active)] if active else ""
        targets = [name for name in attached if name != caller or twist == ITSELF]
        if caller and targets:
            self.past.used.add(caller)
            self.past.requests.append(
                Request(THINGS[number ^ (twist >> 1 & 1)], caller, targets[-1 - other % len(targets)])
            )
            self._carry_out(self.past.requests[-1])

    @rule(number=st.integers(0, 1), which=LATEST, other=LATEST, step=st.integers(1, 14))
    def ask_for_each_others_retirement(self, number: int, which: int, other: int, step: int) -> None:
        """Two certificates of one gateway that can connect, the one within the other."""
        active = self._active(number)
        if len(active) > 1:
            first = active.pop(which % len(active))
            second = active[other % len(active)]
            self.past.used |= {first, second}
            self.past.requests += [Request(THINGS[number], first, second), Request(THINGS[number], second, first)]
            intrude(self.world, step, lambda: self._carry_out(self.past.requests[-2]))
            self._carry_out(self.past.requests[-1])
            self.world.at_each_step = lambda _: None

    @rule(number=st.integers(0, 1), which=LATEST)
    def use(self, number: int, which: int) -> None:
        """A gateway connects with one of its certificates, and its shadow says so."""
        active = self._active(number)
        if active:
            self.past.used.add(active[-1 - which % len(active)])
            self.world.registry.shadows[THINGS[number]] = active[-1 - which % len(active)]

    # -- what is delivered ---------------------------------------------------------------------------------------------

    @rule(which=LATEST, within=st.none() | LATEST, step=st.integers(1, 14))
    def deliver(self, which: int, within: int | None, step: int) -> None:
        """An event, with another one, or the sweep, carried out within it."""
        if within is not None:
            intrude(self.world, step, lambda: self._carry_out(self._event(within)))
        self._carry_out(self._event(which))
        self.world.at_each_step = lambda _: None

    @rule(which=LATEST, step=st.integers(1, 14), for_good=st.booleans())
    def deliver_and_fail(self, which: int, step: int, for_good: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        """An event that fails at a step; whether it comes again is another rule's."""
        self.world.at_each_step = self.world.failing(step, for_good=for_good)
        self._carry_out(self._event(which))
        self.world.at_each_step = lambda _: None

    def _event(self, which: int) -> Registration | Request | Purchase | None:
        """Return one of the latest events, delivered before or not; None is the sweep's."""
        pool: list[Registration | Request | Purchase | None] = [None, *self.past.registrations[-5:]]
        pool += [*self.past.requests[-5:], *self.past.purchases[-5:]]
        return pool[which % len(pool)]

    def _carry_out(self, event: Registration | Request | Purchase | None) -> None:
        with suppress(BackendError):
            match event:
                case Registration():
                    self._register(event)
                case Request():
                    self.world.retire(event.caller, event.target, event.thing)
                case Purchase():
                    self._buy(event)
                case None:
                    self.world.sweep()

    def _register(self, asked: Registration) -> None:
        """What RegisterThing does, for as long as the ownership token lives."""
        if self.world.now - asked.at >= HOUR or self.world.status(asked.certificate) is None:
            return
        parameters = dict(asked.parameters)
        serial = parameters.get("SerialNumber", "")
        bought = self.world.store.devices[serial].bought if serial else frozenset()
        rights = set(self.world.registry.policies_of(asked.caller)) - set(OWN)
        reported = self.world.registry.shadows.get(THING_OF.get(serial, ""), "")
        thing = self.world.register(asked.template, asked.caller, asked.certificate, parameters)
        if thing and serial:
            self.past.by_serial[serial].add(thing)
            assert parameters["RegistrationToken"] == f"token {serial}"
            assert asked.certificate in bought or reported not in bought, "the token was spent by that"
        elif thing:
            assert set(self.world.registry.policies_of(asked.certificate)) >= rights | set(OWN)
            self.past.minted.setdefault((thing, self.world.now.date()), set()).add(asked.certificate)

    def _buy(self, asked: Purchase) -> None:
        """What the vending machine does, asked from an address of the serial number's own."""
        bought = self.world.store.devices[asked.serial].bought
        reported = self.world.registry.shadows.get(f"gw-{asked.serial}", "")
        answer = self.world.vend(request(asked.name), asked.serial, asked.token, f"2001:db8:{asked.serial}::1")
        sold = answer.get("certificateId", "")
        if sold:
            assert asked.token == f"token {asked.serial}"
            assert self.world.status(sold) is Status.ACTIVE
            assert self.world.registry.things_of(sold) == (f"gw-{asked.serial}",)
            assert sold in bought or reported not in bought, "the token was spent by that"
            self.past.by_serial[asked.serial].add(answer["thingName"])
            self.past.made += [sold] if sold not in self.past.made else []

    # -- time, AWS and the operator ------------------------------------------------------------------------------------

    @rule(span=st.sampled_from([MINUTE / 2, MINUTE, HOUR, DAY, 31 * DAY]))
    def wait(self, span: timedelta) -> None:
        """AWS deletes what was not registered within an hour."""
        self.world.now += span
        for name, entry in list(self.world.registry.entries.items()):
            pending = entry.certificate.status is Status.PENDING_ACTIVATION
            if pending and self.world.now - entry.certificate.created_at >= HOUR:
                self.past.forgotten.add(name)
                del self.world.registry.entries[name]

    @rule(step=st.integers(1, 20), for_good=st.booleans())
    def sweep(self, step: int, for_good: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        """A round, which may fail."""
        self.world.at_each_step = self.world.failing(step, for_good=for_good)
        with suppress(BackendError):
            self.world.sweep()
        self.world.at_each_step = lambda _: None

    @rule(which=LATEST)
    def rescue(self, which: int) -> None:
        """The operator takes a retirement back."""
        retired = [name for name in self.past.made if self.world.status(name) is Status.INACTIVE]
        if retired:
            self.past.rescued.add(retired[-1 - which % len(retired)])
            self.world.rescue(retired[-1 - which % len(retired)])

    @rule(number=st.integers(0, 1))
    def arm(self, number: int) -> None:
        """The operator opens one more enrolment."""
        self.world.arm(SERIALS[number], f"token {SERIALS[number]}")

    @rule(number=st.integers(0, 1), now=st.booleans())
    def replace(self, number: int, now: bool) -> None:  # noqa: FBT001 - hypothesis calls it
        """The operator gives a gateway's thing to another device, which enrols; maybe it is delivered later."""
        serial = FOLLOWERS[number]
        self.world.replace(serial, THINGS[number])
        self.world.arm(serial, f"token {serial}", thing=THINGS[number])
        parameters = (("SerialNumber", serial), ("RegistrationToken", f"token {serial}"))
        self.past.registrations.append(Registration("gateway", CLAIM, self._issue(), parameters, self.world.now))
        if now:
            self._carry_out(self.past.registrations[-1])

    @rule(step=st.integers(1, 30), within=st.none() | LATEST)
    def look_at_what_was_replaced(self, step: int, within: int | None) -> None:
        """By the clock; it may fail, or an event comes within it."""
        if within is None:
            self.world.at_each_step = self.world.failing(step)
        else:
            intrude(self.world, step, lambda: self._carry_out(self._event(within)))
        with suppress(BackendError):
            self.world.replacing()
        self.world.at_each_step = lambda _: None

    @rule(number=st.integers(0, 1))
    def block(self, number: int) -> None:
        """The operator refuses a serial number."""
        self.world.block(SERIALS[number])

    # -- what holds ----------------------------------------------------------------------------------------------------

    @invariant()
    def the_promises_hold(self) -> None:
        """Those of the account's side, between each two steps."""
        self.promises.hold()
        self.promises.look()

    def teardown(self) -> None:
        """When all is quiet, what can connect has a thing, however often a sweep was cut off."""
        if not hasattr(self, "world"):
            return
        self.world.now += 40 * DAY
        self.world.swept(3)
        for name, entry in self.world.registry.entries.items():
            assert entry.things or entry.certificate.status is not Status.ACTIVE, name


TestAccount = AccountMachine.TestCase
TestAccount.settings = settings(make.FEW, max_examples=len(campaigns.places(500, 10)), stateful_step_count=50)
