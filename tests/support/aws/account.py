"""The account in memory, with the gateways, thieves and operators that ask it something.

AWS IoT Core's own part, which calls the hook and then registers what it allowed, is here in a few lines; the rest is
the code that runs in the account. `World.at_each_step` is called before each verb of each port, so that a test can have
something else happen right there, or fail it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agent.backend.decide.replacement import AGAIN, begun
from agent.backend.errors import UnavailableError
from agent.backend.handlers import hook, replacement, retirement, sweep, vending
from agent.backend.handlers.account import Account
from agent.backend.memory import MemoryOutbox, MemoryRegistry, MemoryStore
from agent.backend.settings import StackSettings
from agent.backend.values import Device, DeviceState, Status
from agent.fleet.decide.arming import readmit

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.backend.names import Metric

T = TypeVar("T")

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OWN = ("p-gateway-session", "p-gateway-rotation")
SETTINGS = StackSettings(own_policies=frozenset(OWN))
ADDRESS = "192.0.2.7"  # of a gateway (RFC 5737)
CLAIM = "c1" * 32  # the shared claim certificate
TOKEN = "t0ken-of-0042"  # noqa: S105 - of a gateway that is not there


def request(name: object) -> str:
    """Return a request for a certificate that a test knows by a name; it holds no more than that."""
    text = base64.b64encode(str(name).encode()).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"


def certificate_id(name: object) -> str:
    """Return the id of a certificate that a test knows by a name."""
    return hashlib.sha256(str(name).encode()).hexdigest()


class WatchedPort:
    """A port that tells of each verb before it is carried out."""

    def __init__(self, port: object, before: Callable[[str], None]) -> None:
        self._port, self._before = port, before

    def __getattr__(self, verb: str) -> Any:
        """Return a verb of the port."""
        real = getattr(self._port, verb)

        def tell(*args: Any, **options: Any) -> Any:
            self._before(verb)
            return real(*args, **options)

        return tell


class OperatedAccount:
    """One account: what its operator does to it, and how its certificates stand.

    Attributes:
        now: The time; DynamoDB removes rows by it.
        registry: AWS IoT Core.
        store: The stack's tables.
        outbox: What was told.
        verbs: Every verb of a port that was used, in order.
        at_each_step: Called before each verb, with its name.
        account: What the handlers work with.
    """

    def __init__(self, settings: StackSettings = SETTINGS) -> None:
        self._now = NOW
        self.registry, self.store, self.outbox = MemoryRegistry(), MemoryStore(), MemoryOutbox()
        self.verbs: list[str] = []
        self.at_each_step: Callable[[str], None] = lambda _: None
        self.account = Account(
            registry=self._watched(self.registry),
            store=self._watched(self.store),
            outbox=self._watched(self.outbox),
            now=lambda: self.now,
            settings=settings,
        )
        self._made = self._asked = 0

    @property
    def now(self) -> datetime:
        """The time; it is set to a later one."""
        return self._now

    @now.setter
    def now(self, now: datetime) -> None:
        self._now = now
        self._forget()

    def _forget(self) -> None:
        self.store.forget(self._now)

    def _watched(self, port: T) -> T:
        return cast("T", WatchedPort(port, self._step))

    def _step(self, verb: str) -> None:
        self.verbs.append(verb)
        self.at_each_step(verb)

    # -- the operator --------------------------------------------------------------------------------------------------

    def arm(
        self, serial: str = "0042", token: str = TOKEN, *, until: datetime | None = None, thing: str = ""
    ) -> Device:
        """Give a serial number a token, also one that is enrolled; for another thing than its own by name."""
        row = self.account.store.device(serial) or Device(serial=serial, thing=f"gw-{serial}", state=DeviceState.ARMED)
        armed = readmit(replace(row, thing=thing or row.thing), token, until).device
        assert armed is not None
        self.account.store.save_device(armed)
        return armed

    def replace(self, serial: str = "0077", thing: str = "gw-0042") -> None:
        """Give a thing to another device: `iot-cert cloud arm SERIAL --thing NAME`."""
        known = self.store.replacement(thing)
        self.store.save_replacement(begun(thing, serial, self.active(thing), known, self.now))
        self.arm(serial, thing=thing)

    def replacing(self) -> None:
        """Have replaced devices looked at, by the clock, five minutes later."""
        self.now += AGAIN
        replacement.retire_replaced(self.account, lambda: timedelta(seconds=30))

    def block(self, serial: str = "0042") -> None:
        """Have a serial number refused."""
        device = self.account.store.device(serial)
        assert device is not None
        self.account.store.save_device(replace(device, state=DeviceState.BLOCKED))

    def rescue(self, certificate: str) -> None:
        """Take a retirement back."""
        self.registry.set_status(certificate, Status.ACTIVE)

    # -- how it stands -------------------------------------------------------------------------------------------------

    def status(self, certificate: str) -> Status | None:
        """Return the state of a certificate, or None when it is gone."""
        found = self.registry.certificate(certificate)
        return found.status if found else None

    def active(self, thing: str = "gw-0042") -> set[str]:
        """Return the active certificates of a thing."""
        attached = self.registry.certificates_of(thing) or ()
        return {item for item in attached if self.status(item) is Status.ACTIVE}

    def counts(self, metric: Metric) -> int:
        """Return how much was counted of something."""
        return sum(value for name, value, _ in self.outbox.counted if name is metric)


class World(OperatedAccount):
    """One account and what happens to it: AWS IoT Core and the gateways come by."""

    # -- AWS IoT Core --------------------------------------------------------------------------------------------------

    def issue(self) -> str:
        """Make a certificate from a request; return its id."""
        self._made += 1
        made = certificate_id(self._made)
        self.registry.add(made, self.now)
        return made

    def ask_hook(self, template: str, caller: str, certificate: str, parameters: dict[str, str]) -> dict[str, Any]:
        """Call the hook as AWS does, and return its answer."""
        event = {
            "claimCertificateId": caller,
            "certificateId": certificate,
            "certificatePem": "-----BEGIN CERTIFICATE-----",
            "templateArn": f"arn:aws:iot:eu-west-1:123456789012:provisioningtemplate/{template}",
            "clientId": "any",
            "parameters": parameters,
        }
        return dict(hook.hook(event, self.account))

    def register(self, template: str, caller: str, certificate: str, parameters: dict[str, str]) -> str:
        """RegisterThing: ask the hook, and register what it allows; return the thing, or nothing when it is refused."""
        answer = self.ask_hook(template, caller, certificate, parameters)
        if answer["allowProvisioning"] is not True:
            return ""
        thing = str(answer["parameterOverrides"]["ThingName"])
        self.registry.register(thing, certificate, OWN)
        return thing

    # -- gateways ------------------------------------------------------------------------------------------------------

    def enrol(self, certificate: str, serial: str = "0042", token: str = TOKEN) -> str:
        """Register by the claim certificate; return the thing, or nothing."""
        return self.register("gateway", CLAIM, certificate, {"SerialNumber": serial, "RegistrationToken": token})

    def enrolled(self, serial: str = "0042") -> str:
        """Arm and enrol a gateway; return its certificate."""
        self.arm(serial)
        made = self.issue()
        assert self.enrol(made, serial) == f"gw-{serial}"
        return made

    def rotate(self, caller: str, certificate: str, thing: str = "") -> str:
        """Register by a gateway's own certificate; return the thing, or nothing."""
        parameters = {"ThingName": thing} if thing else {}
        return self.register("gateway-rotation", caller, certificate, parameters)

    def rotated(self, caller: str) -> str:
        """Rotate a gateway; return its new certificate."""
        made = self.issue()
        assert self.rotate(caller, made)
        return made

    def retire(self, caller: str, target: object, thing: str = "gw-0042") -> dict[str, Any]:
        """Deliver a request for a retirement; return the answer's body, with `code` for one that is refused."""
        self._asked += 1
        message = {"certificateId": target, "clientToken": str(self._asked)}
        event = {"thing": thing, "principal": caller, "clientId": f"{thing}-cert-agent", "message": message}
        retirement.retire(event, self.account)
        topic, body = next(item for item in self.outbox.answers if item[1]["clientToken"] == message["clientToken"])
        assert topic == f"iot-cert-agent/{thing}/retire/" + ("rejected" if "code" in body else "accepted")
        return {name: value for name, value in body.items() if name != "clientToken"}

    def sweep(self) -> None:
        """Have a round of the sweep made."""
        sweep.sweep(self.account, lambda: timedelta(minutes=15), lambda _: None)

    def swept(self, rounds: int = 2) -> None:
        """Have rounds of the sweep made, an hour apart."""
        for _ in range(rounds):
            self.sweep()
            self.now += HOUR

    def vend(self, csr: str, serial: str = "0042", token: str = TOKEN, address: str = ADDRESS) -> dict[str, Any]:
        """Ask the vending machine; return the answer's body, with `code` for one that is refused."""
        fields = {"serialNumber": serial, "registrationToken": token, "certificateSigningRequest": csr}
        return self.post(json.dumps(fields), address)

    def post(self, body: str, address: str = ADDRESS, **event: object) -> dict[str, Any]:
        """Call the vending machine as API Gateway does, and return its answer's body."""
        event = {
            "version": "2.0",
            "routeKey": "POST /v1/certificates",
            "headers": {"x-forwarded-for": "198.51.100.99"},
            "requestContext": {"http": {"method": "POST", "sourceIp": address}},
            "body": body,
            "isBase64Encoded": False,
            **event,
        }
        answer = vending.vend(event, self.account)
        found: dict[str, Any] = json.loads(str(answer["body"]))
        assert answer["statusCode"] == found.get("code", 200)
        return found

    # -- what goes wrong -----------------------------------------------------------------------------------------------

    def failing(self, step: int, *, for_good: bool = False) -> Callable[[str], None]:
        """Return what fails the verb of a number, counted from now on, and with `for_good` all that follow it."""
        done = len(self.verbs)

        def fail(verb: str) -> None:
            number = len(self.verbs) - done
            if number == step or (for_good and number > step):
                raise UnavailableError(f"{verb} is not answered.")

        return fail


def intrude(world: World, step: int, intruder: Callable[[], object]) -> list[str]:
    """Have something happen before the verb of a number; return a list that has an entry once it did."""
    reached: list[str] = []
    done = len(world.verbs)

    def before(verb: str) -> None:
        if len(world.verbs) - done == step and not reached:
            reached.append(verb)
            intruder()

    world.at_each_step = before
    return reached
