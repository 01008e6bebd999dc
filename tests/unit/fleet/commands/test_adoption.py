from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent.backend.values import DeviceState, Status
from support.aws.moto_account import ARN

if TYPE_CHECKING:
    from pathlib import Path

    from support.aws.fleet_account import Operator

OWN = {"iot-cert-gateway-session", "iot-cert-gateway-rotation"}


@pytest.fixture(name="old")
def _old(operator: Operator) -> str:
    """A gateway of before: its certificate is attached plainly, with its application's policy."""
    owner = operator.world.owner
    for policy in OWN:
        owner.create_policy(policyName=policy, policyDocument="{}")
    made = operator.world.issue()
    operator.world.registry.register("gw-old", made, ["application"])
    operator.answers("GetStatistics", {"statistics": {"count": 1}})
    operator.answers("SearchIndex", {"things": [{"thingName": "gw-old", "attributes": {"sn": "0815"}}]})
    return made


def attached(operator: Operator, certificate: str) -> set[str]:
    """Return the policies of a certificate."""
    return set(operator.world.registry.policies_of(certificate))


def test_it_says_first_what_it_would_do(operator: Operator, old: str, tmp_path: Path) -> None:
    """And does nothing."""
    path = tmp_path / "journal"
    code, said = operator.runs("adopt", "--query", "*", "--journal", str(path))
    assert code == 0
    assert "Would be adopted: 1." in said
    assert "exclusive attachment" in said
    assert attached(operator, old) == {"application"}
    assert operator.world.store.device("gw-old") is None
    assert not path.exists()


def test_it_adds_and_takes_nothing_and_the_second_time_finds_it_done(
    operator: Operator, old: str, tmp_path: Path
) -> None:
    """The certificate stays ACTIVE, and its application's policy on it."""
    words = ("adopt", "--query", "*", "--serial-attribute", "sn", "--journal", str(tmp_path / "journal"), "--apply")
    assert operator.runs(*words)[0] == 4
    exclusive = {"principalThingObjects": [{"thingName": "gw-old", "thingPrincipalType": "EXCLUSIVE_THING"}]}
    operator.answers("ListPrincipalThingsV2", {"principalThingObjects": [{"thingName": "gw-old"}]}, exclusive)
    code, said = operator.runs(*words, "--yes")
    assert code == 0, said
    assert attached(operator, old) == {"application", *OWN}
    assert operator.world.status(old) is Status.ACTIVE
    device = operator.world.store.device("0815")
    assert (device.thing, device.state) == ("gw-old", DeviceState.ENROLLED)
    record = operator.world.store.record(old)
    assert (record.thing, record.serial) == ("gw-old", "0815"), "so that blocking the serial number stops rotations"
    assert "iot:AttachThingPrincipal" in operator.strict.asked
    code, said = operator.runs(*words, "--yes")
    assert "Adopted: 0. Ready before: 1. Left as before: 0." in said
    assert operator.pauses == [1.0, 1.0]
    taken = {action.partition(":")[2] for action in operator.strict.asked}
    assert not any(name.startswith(("Detach", "Delete")) or name == "UpdateCertificate" for name in taken)


def test_taking_back_detaches_what_was_attached_and_no_more(operator: Operator, old: str, tmp_path: Path) -> None:
    """By the journal; a policy that was there before is not in it."""
    operator.world.registry.attach_policy("iot-cert-gateway-session", old)
    path = str(tmp_path / "journal")
    operator.runs("adopt", "--query", "*", "--journal", path, "--apply", "--yes")
    (told,) = operator.rows("adopt", "--undo", "--journal", path, "--yes")
    assert (told["thing"], told["result"], told["dry_run"]) == ("gw-old", "undone", False)
    assert [(step["certificate"], step["exclusive"]) for step in told["steps"]] == [(old, False)]
    code, said = operator.runs("adopt", "--undo", "--journal", path, "--yes")  # it is found done
    assert code == 0, said
    assert attached(operator, old) == {"application", "iot-cert-gateway-session"}
    assert operator.world.status(old) is Status.ACTIVE


def test_what_cannot_be_adopted_is_left_and_said(operator: Operator, old: str, tmp_path: Path) -> None:
    """A certificate of two things cannot be exclusive."""
    operator.world.owner.create_thing(thingName="gw-2")
    operator.world.owner.attach_thing_principal(thingName="gw-2", principal=ARN + old)
    rows = operator.rows("adopt", "--query", "*", "--journal", str(tmp_path / "j"), "--apply", "--yes")
    assert rows[0]["result"] == "left"
    assert "2 things" in rows[0]["why"]
    assert attached(operator, old) == {"application"}


def test_an_attachment_that_stays_plain_is_said(operator: Operator, old: str, tmp_path: Path) -> None:
    """The agent could not connect with it, so it is not told to be adopted; what was added stays."""
    code, said = operator.runs("adopt", "--query", "*", "--journal", str(tmp_path / "j"), "--apply", "--yes")
    assert code == 1
    assert "does not say yet that its attachment is exclusive" in said
    assert attached(operator, old) == {"application", *OWN}


@pytest.mark.parametrize("text", ["x", "[]\n", '{"thing": 1}\n'])
def test_a_file_that_is_no_journal_takes_nothing_back(operator: Operator, tmp_path: Path, text: str) -> None:
    """It may be any file."""
    path = tmp_path / "journal"
    path.write_text(text)
    code, said = operator.runs("adopt", "--undo", "--journal", str(path), "--yes")
    assert code == 2
    assert "no journal" in said


def test_the_journal_is_written_before_anything_is_attached(operator: Operator, old: str, tmp_path: Path) -> None:
    """Where it cannot be, nothing is."""
    path = tmp_path / "none" / "j"
    assert operator.runs("adopt", "--query", "*", "--journal", str(path), "--apply", "--yes")[0] == 2
    assert attached(operator, old) == {"application"}
    path = tmp_path / "j"
    operator.refuses("AttachPolicy", "InternalFailureException", "x", 500)
    assert operator.runs("adopt", "--query", "*", "--journal", str(path), "--apply", "--yes")[0] == 5
    assert json.loads(path.read_text())["certificate"] == old
