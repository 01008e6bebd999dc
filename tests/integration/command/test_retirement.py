"""Retirements by the command alone, where no daemon runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.core.failure.codes import Code
from agent.core.worker_protocol import Do, Order, encode_order
from agent.sandbox.cloud import Status
from agent.sandbox.replies.faults import Effect, Fault, Operation
from support.running.daemon import RunningDaemon

if TYPE_CHECKING:
    from support.running.gateway import Gateway


@pytest.fixture
def rotated(enrolled: Gateway) -> Gateway:
    """Return a gateway that has left its first certificate behind."""
    enrolled.rotate()
    return enrolled


def old(gateway: Gateway) -> str:
    """Return the certificate that the last change replaced."""
    return gateway.history()[-1].replaces or ""


def status_of(gateway: Gateway, certificate_id: str) -> Status:
    """Return what the cloud says of a certificate."""
    return gateway.cloud.registry[certificate_id].status


def fault(gateway: Gateway, effect: Effect) -> None:
    """Let the next retirement go wrong."""
    gateway.cloud.faults.add(Fault(operation=Operation.RETIRE, effect=effect))


def test_what_another_program_may_use_is_spared_and_named(rotated: Gateway) -> None:
    """Nothing is known of the program, so the certificate is not asked for; a person's word goes over that."""
    text = f"dependants: [{{unit: nginx.service}}]\ndeploy_dir: {rotated.directory}/deploy\n"
    rotated.config.write_text(text + rotated.config.read_text())
    assert "waits for nginx.service" in rotated.run("status").out
    refused = rotated.run("retire", expect=4)
    assert f"Not retired: {old(rotated)[:12]}" in refused.err
    assert "nginx.service" in refused.err
    assert status_of(rotated, old(rotated)) is Status.ACTIVE
    assert rotated.cloud.count(Operation.RETIRE) == 0
    assert rotated.run("retire", "--now", "--json", expect=0).outcome == {"event": "retired", "exit": 0}
    assert status_of(rotated, old(rotated)) is Status.INACTIVE


def test_no_answer_and_a_refusal_have_codes_of_their_own(rotated: Gateway) -> None:
    """Neither is written down, and the certificate is named in both."""
    rotated.expect_silence()
    for effect, code in ((Effect.IGNORE, 5), (Effect.THROTTLE, 5), (Effect.UNAUTHORISED, 4), (Effect.REJECT, 4)):
        fault(rotated, effect)
        assert f"{old(rotated)[:12]} is not retired: " in rotated.run("retire", expect=code).err
    assert rotated.history()[-1].phase is Phase.COMMITTED
    rotated.run("retire", expect=0)
    assert rotated.history()[-1].phase is Phase.RETIRED


def test_a_refusal_holds_up_no_other(rotated: Gateway) -> None:
    """What can be retired is, and then the command says what was not."""
    first = old(rotated)
    rotated.run("rotate", expect=0)
    fault(rotated, Effect.REJECT)
    assert first[:12] in rotated.run("retire", expect=4).err
    assert status_of(rotated, first) is Status.ACTIVE
    assert status_of(rotated, old(rotated)) is Status.INACTIVE


@pytest.fixture
def doubtful(enrolled: Gateway) -> Gateway:
    """Return a gateway whose rotation sent a registration into a connection that broke, and was refused then."""
    for effect in (Effect.HANG_UP, Effect.REJECT):
        enrolled.cloud.faults.add(Fault(operation=Operation.REGISTER, effect=effect))
    enrolled.run("rotate", expect=1)
    assert len(retiring(enrolled)) == 1
    return enrolled


def retiring(gateway: Gateway) -> list[dict[str, str]]:
    """Return what the status says is still to be retired."""
    found: list[dict[str, str]] = gateway.run("status", "--json").outcome["retirements"]
    return found


def settled(gateway: Gateway) -> tuple[str, bool]:
    """Return what is told of the certificate once it is settled, and whether its key is there."""
    record = gateway.history()[-1]
    assert (record.phase, record.retired_at, record.dropped_at is None) == (Phase.REJECTED, None, False)
    assert record.issued is not None
    told = f"The certificate {record.issued.certificate_id[:12]} is not asked to be retired any more: the cloud has"
    return told, bool([*gateway.state.glob("generations/000002*/key.pem")])


def test_what_the_cloud_never_registered_is_settled_by_its_answer(doubtful: Gateway) -> None:
    """AWS deletes it by itself: nothing is left for a person, and the command typed again has nothing to do."""
    done = doubtful.run("retire", expect=0)
    told, key = settled(doubtful)
    assert told in " ".join(done.out.split())
    assert done.out.endswith("No certificate is left to be retired.\n")
    assert not key
    assert retiring(doubtful) == []
    asked = doubtful.cloud.count(Operation.RETIRE)
    assert "dropped" not in doubtful.run("retire", "--now", expect=0).out
    assert doubtful.cloud.count(Operation.RETIRE) == asked == 1


def test_the_daemon_settles_it_too_and_the_person_hears_that(doubtful: Gateway) -> None:
    """Once in the journal, and the gateway is as well as before."""
    with RunningDaemon(doubtful) as daemon:
        daemon.until_up()
        events = doubtful.run("retire", "--now", "--json", expect=0).events
        told, key = settled(doubtful)
        assert [event["event"] for event in events] == ["progress", "retired"]
        assert (events[0]["code"], told in events[0]["text"]) == ("dropped", True)
        assert not key
        assert doubtful.run("retire", expect=0).out.strip() == "No certificate is left to be retired."
        assert "retir" not in doubtful.run("status").out
    said = daemon.said()
    assert said.count("retire-dropped") == 1
    assert "retire-refused" not in said


def test_a_certificate_is_dropped_without_a_daemon(rotated: Gateway) -> None:
    """Once, and then it says that it is done."""
    first = old(rotated)
    rotated.run("retire", "--drop", "f" * 64, expect=4)
    assert f"{first} is not asked to be retired any more" in rotated.run("retire", "--drop", first[:9], expect=0).out
    assert "already" in rotated.run("retire", "--drop", first, expect=0).out
    assert "No certificate is left" in rotated.run("retire", expect=0).out
    assert "retiring" not in rotated.run("status").out
    assert rotated.cloud.count(Operation.RETIRE) == 0
    assert status_of(rotated, first) is Status.ACTIVE


def test_a_drop_is_written_down_before_files_that_were_replaced_by_hand_are_looked_into(rotated: Gateway) -> None:
    """The daemon's worker has one order at a time, and the client waits for this one."""
    first, generations = old(rotated), rotated.state / "generations"
    rotated.run("rotate", expect=0)
    for name in ("key.pem", "certificate.pem"):
        (generations / "000003" / name).write_bytes((generations / "000002" / name).read_bytes())
    order = encode_order(Order(do=Do.DROP_RETIREMENT, certificate=first[:8], orderly=True))
    done = subprocess.run(
        [sys.executable, "-m", "agent.worker.main", "--config", rotated.config],
        input=order,
        capture_output=True,
        check=True,
    )
    end = json.loads(done.stdout.splitlines()[-1])
    assert end["dropped"].startswith(f"The certificate {first} is not asked to be retired any more")
    assert [record.replaces for record in rotated.history() if record.dropped_at] == [first]


def test_nothing_is_asked_for_where_the_configuration_says_so(rotated: Gateway) -> None:
    """Nor need the policy allow the topics that it would be asked on; what was left behind is counted."""
    rotated.rotation(retire="false")
    assert "not asked for (rotation.retire is false): 1 left behind" in rotated.run("status").out
    for arguments in (["retire"], ["retire", "--now"]):
        assert "`rotation.retire` is false" in rotated.run(*arguments, expect=4).err
    assert rotated.cloud.count(Operation.RETIRE) == 0


def test_the_certificate_of_a_change_whose_record_was_lost_is_retired(rotated: Gateway) -> None:
    """The file system left zeros of it; the generation that was prepared tells what is to be taken back."""
    fault_at_proof = Fault(operation=Operation.ASK, effect=Effect.THROTTLE, times=None)
    rotated.cloud.faults.add(fault_at_proof)
    rotated.run("rotate", "--wait", "0", expect=5)
    rotated.cloud.faults.clear()
    orphan = next(name for name, entry in reversed(rotated.cloud.registry.items()) if entry.thing_name)
    (rotated.state / "change.json").write_bytes(bytes(400))
    shown = rotated.run("retire", expect=0).out
    assert "moved to change.json.damaged" in shown
    assert orphan in shown
    assert status_of(rotated, orphan) is Status.INACTIVE
    failures = [record.failure for record in rotated.history() if record.failure]
    assert [failure.code for failure in failures] == [Code.RECORD_DAMAGED]
    assert rotated.generations() == (2, None)
    rotated.run("rotate", expect=0)


def test_a_key_that_a_disk_kept_is_destroyed_by_the_next_worker(rotated: Gateway) -> None:
    """As a disk leaves it that fails once: the daemon begins with such a worker."""
    kept, old_set = rotated.directory / "kept", rotated.state / "generations" / "000001"
    shutil.copytree(old_set, kept)
    rotated.run("retire", expect=0)
    assert not old_set.exists()
    shutil.move(kept, old_set)
    (rotated.state / "previous").symlink_to("generations/000001")
    with RunningDaemon(rotated) as daemon:
        daemon.until_up(2)
        assert not old_set.exists()
    assert rotated.generations() == (2, None)
