"""Vending over HTTPS by the real command, killed before each step that lasts, on both sides, and asked again.

The account is the stack on an emulator, whose HTTP API has no TLS: see `support.emulator.shopper`. Each case is a
gateway of its own. Nothing here has run on AWS.
"""

from __future__ import annotations

import signal
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from agent.backend.decide.deletion import SETTLED
from agent.core.change.lifecycle import Phase
from support.crashkit import points
from support.emulator import dying_vend
from support.emulator.account import BUCKET, account_with_code
from support.emulator.fleet_operator import Administrator
from support.emulator.shopper import Shopper, counter
from support.running.dying import dies
from support.suite import campaigns
from support.suite.campaigns import least

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from support.emulator.account import Account
    from support.emulator.shopper import Counter

pytestmark = [pytest.mark.root, pytest.mark.whole]

FUNCTION = "iot-cert-vend"
SEED = 18


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A vending machine on the emulator, and the gateways that buy there.

    Attributes:
        account: The account.
        counter: Where it is asked.
        directory: Where the gateways are.
    """

    account: Account
    counter: Counter
    directory: Path

    def gateway(self, serial: str) -> Shopper:
        """Return a gateway out of the factory, armed."""
        place = self.directory / serial
        place.mkdir()
        found = Shopper(directory=place, account=self.account, serial=serial, counter=self.counter)
        found.arm()
        return found

    @property
    def order(self) -> Path:
        """What the function is told of its end; see `dying_vend`."""
        return self.directory / "dying"

    @property
    def verbs(self) -> list[str]:
        """What the function did when it came to its end last."""
        return self.order.with_suffix(".verbs").read_text().split()

    def certificates(self) -> dict[str, str]:
        """Return the state of each certificate of the account."""
        pages = self.account.client("iot").get_paginator("list_certificates").paginate()
        return {item["certificateId"]: item["status"] for page in pages for item in page["certificates"]}

    def noted(self, certificate_id: str) -> bool:
        """Whether the stack's table has a row of a certificate."""
        key = {"certificate_id": {"S": certificate_id}}
        found = self.account.client("dynamodb").get_item(TableName="iot-cert-certificates", Key=key)
        return "Item" in found

    def swept(self, *certificates: str) -> None:
        """Have the day pass after which what was set aside is deleted, and the sweep come twice."""
        for name in certificates:
            self.account.client("dynamodb").update_item(
                TableName="iot-cert-certificates",
                Key={"certificate_id": {"S": name}},
                UpdateExpression="SET delete_after = :past",
                ExpressionAttributeValues={":past": {"N": "1"}},
            )
        for _ in range(2):
            self.account.client("lambda").invoke(FunctionName="iot-cert-sweep", Payload="{}")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Deploy the stack with a vending machine whose function can be told to die."""
    tmp_path = tmp_path_factory.mktemp("shop")
    with account_with_code(tmp_path) as account:
        (archive,) = (tmp_path / "dist").glob("*.zip")
        with zipfile.ZipFile(archive, "a") as code:
            code.write(dying_vend.__file__, "dying_vend.py")
        account.upload(archive)
        template = (tmp_path / "dist" / "template.yaml").read_text()
        outputs = account.deploy(template, CodeBucket=BUCKET, Vending="on")
        functions = account.client("lambda")
        variables = functions.get_function_configuration(FunctionName=FUNCTION)["Environment"]["Variables"]
        variables[dying_vend.ORDER] = str(tmp_path / "dying")
        functions.update_function_configuration(
            FunctionName=FUNCTION, Handler="dying_vend.vend", Environment={"Variables": variables}
        )
        with counter(outputs["VendingUrl"]) as opened:
            made = Shop(account=account, counter=opened, directory=tmp_path)
            with made.gateway("first") as gateway:  # which asks until the function has begun: on a busy machine, twice
                gateway.run("enroll", expect=0)
            yield made


def steps_of(shop: Shop, serial: str) -> list[str]:
    """Return the steps of a purchase in which nothing dies."""
    with shop.gateway(serial) as whole:
        assert dies(whole, -1, "enroll").code == 0
    return whole.steps.read_text().splitlines()


def assert_bought(shop: Shop, gateway: Shopper, before: dict[str, str]) -> set[str]:
    """Hold a gateway to what it must have in the end, and return what was made besides, which nothing can use.

    One change, committed; one certificate of its thing, in use; no token on it, and none in anything that it said.
    """
    assert [record.phase for record in gateway.history()] == [Phase.COMMITTED]
    bought = gateway.certificate_id()
    assert gateway.statuses() == {bought: "ACTIVE"}
    gateway.run("check", "connect", "permissions", expect=0)
    assert not (gateway.directory / "claim" / "token").exists()
    assert gateway.token not in gateway.everything_said()
    made = shop.certificates()
    besides = set(made) - set(before) - {bought}
    assert {made[name] for name in besides} <= {"INACTIVE"}
    return besides


def test_the_command_is_killed_before_each_step_that_lasts(shop: Shop) -> None:
    """Then it is typed again: the request that was asked with is sold the same certificate, and no other is made."""
    steps = steps_of(shop, "agent")
    for at in (taken := campaigns.places(len(steps), 1)):
        with campaigns.case(at), shop.gateway(f"a{at}") as gateway:
            before = shop.certificates()
            assert dies(gateway, at, "enroll").code == -signal.SIGKILL
            gateway.run("enroll")
            assert assert_bought(shop, gateway, before) == set(), steps[at]
    points.visited("kills of a purchase", len(taken), at_least=least(60, 1))


def test_the_function_dies_before_each_verb_and_before_its_answer(shop: Shop) -> None:
    """The command asks again by itself, with the same request, and goes on.

    What had been made in vain is INACTIVE, of no thing, and deleted a day later; what not even the table knew is
    listed for the operator.
    """
    steps_of(shop, "function")
    verbs = [*shop.verbs, "answer"]
    noted, claimed = verbs.index("save_record"), verbs.index("save_device")
    for at in (taken := campaigns.places(len(verbs), 1)):
        with campaigns.case(at), shop.gateway(f"f{at}") as gateway:
            before = shop.certificates()
            shop.order.write_text(str(at))
            gateway.run("enroll", expect=0)
            assert not shop.order.exists(), "it has died"
            besides = assert_bought(shop, gateway, before)
            assert len(besides) == int(verbs.index("make_certificate") < at <= claimed), verbs[at]
            assert {shop.noted(name) for name in besides} <= {at > noted}
            assert_nothing_is_left(shop, gateway, besides)
    points.visited("deaths of the vending function", len(taken), at_least=least(15, 1))


def assert_nothing_is_left(shop: Shop, gateway: Shopper, besides: set[str]) -> None:
    """What was set aside is deleted, what is in use is not, and what is in no table is a stray by its name."""
    known = {name for name in besides if shop.noted(name)}
    shop.swept(*known)
    left = shop.certificates()
    assert not known & set(left)
    assert left[gateway.certificate_id()] == "ACTIVE"
    strays = {
        row["certificate"] for row in Administrator(ahead=SETTLED).rows("orphans") if row.get("event") != "nothing"
    }
    assert strays == besides - known
    for name in strays:
        shop.account.client("iot").delete_certificate(certificateId=name)


def test_both_sides_die_in_one_purchase(shop: Shop) -> None:
    """The function before any verb, and the command before any step that follows; both are asked again."""
    steps, verbs = len(steps_of(shop, "both")), len(shop.verbs)

    def die(number: int, chance: Random) -> None:
        with shop.gateway(f"b{number}") as gateway:
            before = shop.certificates()
            shop.order.write_text(str(chance.randrange(verbs + 1)))
            assert dies(gateway, chance.randrange(steps // 2, steps), "enroll").code == -signal.SIGKILL
            gateway.run("enroll")
            assert len(assert_bought(shop, gateway, before)) <= 1

    numbers = iter(range(100))
    taken = campaigns.each(12, lambda chance: die(next(numbers), chance), one_in=1, seed=SEED)
    points.visited("kills of both sides", taken, at_least=12)
