"""The product as a person meets it: commands, exit codes, what is on disk and what the cloud saw."""

from __future__ import annotations

import base64
import signal
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.sandbox.cloud import Status
from agent.sandbox.faults import Operation
from support import campaigns
from support.daemon import RunningDaemon
from support.tunnels import tunnelling_proxy

if TYPE_CHECKING:
    from support.gateway import Gateway

HAPPY = ["planned", "key-ready", "requested", "issued", "registered", "prepared", "proven", "active", "deployed"]


def test_a_gateway_enrols_rotates_and_goes_back(gateway: Gateway) -> None:
    """The whole story by command: enrol, rotate, roll back; one request for each certificate."""
    enrolled = gateway.run("enroll", "--json", expect=0)
    assert [phase for phase in enrolled.phases if phase not in {"wait", "note"}] == [*HAPPY, "committed"]
    assert gateway.generations() == (1, None)
    gateway.run("rotate", "--reason", "visit", expect=0)
    assert gateway.generations() == (2, 1)
    gateway.run("rollback", expect=0)
    assert gateway.generations() == (1, 2)
    assert gateway.cloud.count(Operation.CREATE) == gateway.cloud.count(Operation.REGISTER) == 2
    assert [record.phase for record in gateway.history()] == [Phase.COMMITTED] * 3
    assert gateway.run("status", expect=1).out.count("\n") < 24
    assert "health       No daemon runs" in gateway.run("status", expect=1).out
    assert gateway.run("status", "--json", expect=1).outcome["current"]["generation"] == 1


@pytest.mark.parametrize("key", ["ec-p384", "rsa-2048"])
def test_other_keys_work_too(gateway: Gateway, key: str) -> None:
    """A gateway may use P-384 or RSA."""
    gateway.configure({"trust:\n": f"key: {{algorithm: {key}}}\ntrust:\n"})
    gateway.run("enroll", expect=0)
    shown = gateway.run("status", "--json", expect=1).outcome["current"]["certificate"]["key"]
    assert shown == {"ec-p384": "EC P-384", "rsa-2048": "RSA 2048"}[key]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_an_endpoint_may_speak_one_tls_version_only(enrolled: Gateway, version: str) -> None:
    """AWS's security policies allow TLS 1.2 alone and TLS 1.3 alone."""
    enrolled.order(f"tls {version}")
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (2, 1)


def test_a_rotation_works_over_alpn(enrolled: Gateway) -> None:
    """Where 8883 is blocked, MQTT goes over 443 with ALPN."""
    enrolled.configure({f"port: {enrolled.service.port}": f"alpn: true\nport: {enrolled.service.alpn_port}"})
    enrolled.run("rotate", expect=0)
    enrolled.configure({"alpn: true": "alpn: false"})
    assert enrolled.run("rotate", "--wait", "0").code == 3  # the other port hangs up on every set


def test_everything_goes_through_a_proxy_when_one_is_configured(enrolled: Gateway) -> None:
    """Preflight and session ask the proxy to CONNECT; without it there is no way out."""
    with tunnelling_proxy() as (port, asked):
        enrolled.configure({"trust:\n": f"proxy: {{host: 127.0.0.1, port: {port}}}\ntrust:\n"})
        enrolled.run("rotate", expect=0)
        assert len(asked) >= 6
        assert set(asked) == {f"CONNECT localhost:{enrolled.service.port}"}
    tried = enrolled.run("rotate", "--json", "--wait", "0", expect=5)
    assert tried.outcome["change"]["failure"]["kind"] == "network"


def test_the_password_of_the_proxy_is_told_to_the_proxy_alone(enrolled: Gateway) -> None:
    """Not to the journal, status, check or the support bundle, whether the proxy takes it or not."""
    secret, file = "correct-horse-battery", enrolled.directory / "proxy-password"
    file.write_text(f"{secret}\n")
    file.chmod(0o600)
    target = enrolled.directory / "support.tar"
    told = []
    for takes in (secret, "another"):
        with tunnelling_proxy(credentials=f"gateway:{takes}") as (port, asked):
            proxy = f"proxy: {{host: 127.0.0.1, port: {port}, user: gateway, password_file: {file}}}\n"
            plain = enrolled.config.read_text()
            enrolled.configure({"trust:\n": f"{proxy}trust:\n"})
            with RunningDaemon(enrolled) as daemon:
                if takes == secret:
                    daemon.until_up(1)
                told += [enrolled.run(verb).out + enrolled.run(verb, "--json").out for verb in ("status", "check")]
                enrolled.run("support-bundle", "--output", str(target), "--json")
                told += [daemon.said(), target.read_text(errors="replace")]
            enrolled.config.write_text(plain)
            assert bool(asked) == (takes == secret)
    assert "proxy" in "".join(told)
    basic = base64.b64encode(f"gateway:{secret}".encode()).decode()
    assert not [text for text in told if secret in text or basic in text]


def test_a_small_client_hello_works(enrolled: Gateway) -> None:
    """The option for middleboxes that drop large first messages."""
    enrolled.configure({"trust:\n": "small_client_hello: true\ntrust:\n"})
    enrolled.run("rotate", expect=0)


@pytest.mark.parametrize("phase", campaigns.take([*HAPPY, "wait"], 2))
def test_a_rotation_killed_in_any_phase_goes_on(enrolled: Gateway, phase: str) -> None:
    """After kill -9 the same command finishes the change, and asks again only when the answer was lost."""
    process = enrolled.start("rotate")
    assert process.stdout is not None
    for line in process.stdout:
        if line.split()[1] == phase:
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.read()
    process.stdout.close()
    assert process.wait(30) == -signal.SIGKILL
    assert enrolled.generations()[0] in {1, 2}
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (2, 1)
    asked = enrolled.cloud.count(Operation.CREATE)
    assert asked == 2 or (phase == "requested" and asked == 3)


def test_a_second_rotation_is_refused_while_one_runs(enrolled: Gateway) -> None:
    """There is one change at a time; who comes second gets exit code 4 and learns who is working."""
    enrolled.configure({"probation: 1s": "probation: 60s"})
    first = enrolled.start("rotate")
    assert first.stdout is not None
    try:
        for line in first.stdout:
            if line.split()[1] == "wait":
                break
        second = enrolled.run("rotate", expect=4)
        assert f"Process {first.pid} is working" in second.err
        assert "on probation until" in enrolled.run("status", expect=1).out
    finally:
        first.send_signal(signal.SIGINT)
        rest = first.stdout.read()
        first.stdout.close()
    assert first.wait(30) == 130
    assert "the change, if any, is kept" in rest
    assert enrolled.generations() == (2, 1)
    enrolled.run("rollback", "--reason", "not today", expect=0)
    assert enrolled.generations() == (1, None)


def test_a_confirmation_without_a_daemon_makes_the_set_final(enrolled: Gateway) -> None:
    """The command makes the last proof itself; where there is nothing to confirm it says so."""
    enrolled.configure({"probation: 1s": "probation: 10m"})
    enrolled.run("rotate", "--no-wait", expect=0)
    assert enrolled.run("confirm", "--json", expect=0).phases == ["note", "committed"]
    assert enrolled.generations() == (2, 1)
    assert "Done: rotate" in enrolled.run("confirm", expect=0).out

    enrolled.run("rotate", "--no-wait", expect=0)
    enrolled.run("rollback", expect=0)
    assert "Nothing is on probation." in enrolled.run("confirm", expect=4).err


def test_a_command_that_does_not_wait_says_what_is_waited_for(enrolled: Gateway) -> None:
    """And without a daemon the next command is the word."""
    enrolled.rotation(confirm="10m")
    told = enrolled.run("rotate", "--no-wait", expect=0).out
    assert "waits for confirmation until" in told
    assert "`iot-cert confirm`" in told
    assert "waits for confirmation until" in enrolled.run("status", expect=1).out
    enrolled.run("confirm", expect=0)
    assert enrolled.history()[-1].phase is Phase.COMMITTED


def test_a_command_that_waits_for_the_end_of_probation_says_how_to_confirm(enrolled: Gateway) -> None:
    """It has the store, so the word has to wait; stopping it loses nothing."""
    enrolled.configure({"probation: 1s": "probation: 10m"})
    first = enrolled.start("rotate")
    assert first.stdout is not None
    try:
        for line in first.stdout:
            if line.split()[1] == "wait":
                break
        assert "stop it with Ctrl-C and confirm again" in enrolled.run("confirm", expect=4).err
    finally:
        first.send_signal(signal.SIGINT)
        first.stdout.read()
        first.stdout.close()
    assert first.wait(30) == 130
    enrolled.run("confirm", expect=0)
    assert enrolled.history()[-1].phase is Phase.COMMITTED


# Each: the fault, how the first try ends (exit code, class, code), and whether a second one makes it good.
FAULTS = [
    ("create lose", 5, "network", "no-reply"),
    ("create ignore", 5, "network", "no-reply"),
    ("create reject", 1, "protocol", "request-refused"),
    ("create deny", 5, "policy", "denied"),
    ("create throttle", 5, "throttled", "throttled"),
    ("create unavailable", 5, "network", "cloud-unavailable"),
    ("create garble", 5, "protocol", "garbled"),
    ("create oversize", 5, "protocol", "garbled"),
    ("create wrong-key", 5, "protocol", "certificate-unacceptable"),
    ("create expired", 5, "protocol", "certificate-unacceptable"),
    ("create not-yet-valid", 5, "protocol", "certificate-unacceptable"),
    ("create no-token", 5, "protocol", "garbled"),
    ("create hang-up", 5, "network", "session-lost"),
    ("create unauthorised", 5, "policy", "not-authorised"),
    ("register lose", 5, "network", "no-reply"),
    ("register ignore", 5, "network", "no-reply"),
    ("register reject", 1, "protocol", "request-refused"),
    ("register deny", 5, "policy", "denied"),
    ("register throttle", 5, "throttled", "throttled"),
    ("register unavailable", 5, "network", "cloud-unavailable"),
    ("register garble", 5, "protocol", "garbled"),
    ("register wrong-thing", 1, "protocol", "wrong-thing"),
    ("register hang-up", 5, "network", "session-lost"),
    ("connect hang-up", 3, "network", "locked-out"),
    ("connect throttle", 5, "throttled", "throttled"),
    ("connect unavailable", 5, "network", "cloud-unavailable"),
    ("connect unauthorised", 5, "policy", "not-authorised"),
    ("ask ignore", 5, "network", "no-reply"),
]


@pytest.mark.parametrize(
    ("fault", "code", "kind", "name"),
    [pytest.param(*item, id=item[0]) for item in campaigns.one_of_each(FAULTS, lambda item: item[3])],
)
def test_every_fault_has_its_class_and_sentence(enrolled: Gateway, fault: str, code: int, kind: str, name: str) -> None:
    """A fault is told by class, code and sentence; the set in use still connects, and the next try succeeds."""
    enrolled.configure(
        {"policy_patience": "policy_patience"} if "policy_patience" in enrolled.config.read_text() else {}
    )
    enrolled.expect_silence()
    enrolled.order("fault " + fault + (" always" if fault.startswith("connect hang-up") else ""))
    tried = enrolled.run("rotate", "--json", "--wait", "0", *_impatient(kind))
    failure = tried.outcome["change"]["failure"]
    assert (tried.code, failure["kind"], failure["code"]) == (code, kind, name)
    assert failure["message"].endswith(".")
    assert tried.outcome["current"] == 1
    assert enrolled.generations()[0] == 1
    enrolled.order("clear")
    enrolled.run("rotate", expect=0)
    current, previous = enrolled.generations()
    assert current in {2, 3}
    assert previous == 1
    assert enrolled.cloud.registry[enrolled.certificate_id()].status is Status.ACTIVE


def _impatient(kind: str) -> list[str]:
    """Refusals that may be the cloud's own delay are waited out in the foreground unless the caller says no."""
    return ["--no-wait"] if kind == "policy" else []


def test_a_certificate_that_never_becomes_active_is_set_aside(enrolled: Gateway) -> None:
    """Refused while the current set is accepted: rejected, and the gateway keeps what works."""
    enrolled.order("fault register never-active")
    ended = enrolled.run("rotate", "--json", expect=1).outcome
    assert ended["change"]["failure"]["kind"] == "credential"
    assert enrolled.generations() == (1, None)
    assert (enrolled.state / "generations" / "000002.rejected").is_dir()


def test_a_certificate_revoked_on_probation_is_rolled_back(enrolled: Gateway) -> None:
    """The new set passed its proof and is refused later: the previous one is put back."""
    enrolled.order("fault register revoke")
    ended = enrolled.run("rotate", "--json", expect=1).outcome
    assert ended["change"]["phase"] == "rolled-back"
    assert enrolled.generations() == (1, None)
    assert "rolled back" in enrolled.run("status", expect=1).out
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (3, 1)


def test_extra_fields_and_duplicate_replies_do_no_harm(enrolled: Gateway) -> None:
    """A newer service may say more, and a broker may say it twice."""
    enrolled.order("fault create extra-fields")
    enrolled.run("rotate", expect=0)
    enrolled.order("fault create duplicate")
    enrolled.order("fault register duplicate")
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (3, 2)


def test_a_late_reply_is_never_taken_for_another(enrolled: Gateway) -> None:
    """After a timeout a new connection is used, so the late certificate goes nowhere."""
    enrolled.expect_silence()
    enrolled.order("fault create late")
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (2, 1)
    assert enrolled.cloud.count(Operation.CREATE) == 3


@pytest.mark.parametrize(
    ("order", "kind", "code"),
    [
        ("down", "network", "unreachable"),
        ("server other-root", "server-trust", "unknown-root"),
        ("server expired", "server-trust", "server-certificate-expired"),
        ("server wrong-host", "server-trust", "wrong-host"),
    ],
)
def test_an_endpoint_that_is_down_or_not_itself_costs_nothing(
    enrolled: Gateway, order: str, kind: str, code: str
) -> None:
    """No certificate is asked for, nothing is rolled back, and the change goes on when the endpoint is itself again."""
    enrolled.order(order)
    tried = enrolled.run("rotate", "--json", "--wait", "0", expect=5).outcome
    assert (tried["change"]["failure"]["kind"], tried["change"]["failure"]["code"]) == (kind, code)
    assert enrolled.cloud.count(Operation.CREATE) == 1
    assert enrolled.generations() == (1, None)
    enrolled.order("up" if order == "down" else "server good")
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (2, 1)


def test_a_gateway_that_is_locked_out_climbs_the_ladder(enrolled: Gateway) -> None:
    """Current revoked: the previous set is put back and rotated from. Both revoked: the claim enrols anew."""
    enrolled.run("rotate", expect=0)
    enrolled.order("revoke current")
    enrolled.run("rotate", expect=0)
    assert [record.kind for record in enrolled.history()][-2:] == ["rollback", "rotate"]
    for entry in enrolled.cloud.certificates_of("gw-0042"):
        enrolled.service.revoke(entry.certificate_id)
    enrolled.run("rotate", expect=0)
    assert enrolled.history()[-1].kind == "enroll"
    assert enrolled.cloud.registry[enrolled.certificate_id()].status is Status.ACTIVE


def test_a_rollback_the_cloud_does_not_allow_is_refused(enrolled: Gateway) -> None:
    """A previous certificate that the cloud has deactivated is not gone back to; the gateway stays where it works."""
    enrolled.run("rotate", expect=0)
    enrolled.order(f"deactivate {enrolled.cloud.certificates_of('gw-0042')[0].certificate_id}")
    ended = enrolled.run("rollback", expect=1)
    assert "Generation 2 is accepted over the same path" in ended.out
    assert enrolled.generations() == (2, 1)


def test_a_policy_that_takes_its_time_is_waited_for(enrolled: Gateway) -> None:
    """Not authorised on a fresh certificate is no refusal."""
    enrolled.order("policy-delay 4")
    enrolled.run("rotate", expect=0)
    assert enrolled.generations() == (2, 1)


HOSTILE = {
    "brackets": b"[" * 200_000,
    "digits": b'{"certificateId": ' + b"9" * 5_000_000 + b"}",
    "nan": b'{"certificateId": NaN, "certificatePem": NaN, "certificateOwnershipToken": NaN}',
    "twice": b'{"certificateId": "a", "certificateId": "b"}',
    "surrogate": b'{"certificatePem": "\\ud800", "certificateId": "x", "certificateOwnershipToken": "y"}',
    "types": b'{"certificatePem": {"a": 1}, "certificateId": [], "certificateOwnershipToken": 7}',
    "null": b"null",
    "list": b"[]",
    "text": b'"text"',
    "empty": b"",
    "zeros": b"\x00\x01\x02",
    "bytes": b"\xff" * 1000,
}


@pytest.mark.parametrize("kind", campaigns.take(list(HOSTILE), 3))
def test_a_hostile_reply_is_a_sentence(enrolled: Gateway, kind: str) -> None:
    """Whatever the broker sends in place of a reply: class protocol, a sentence, and the next try succeeds."""
    from agent.sandbox.faults import Effect, Fault  # noqa: PLC0415 - beside the one use

    enrolled.cloud.faults.add(Fault(operation=Operation.CREATE, effect=Effect.HOSTILE, payload=HOSTILE[kind]))
    failure = enrolled.run("rotate", "--json", "--wait", "0", expect=5).outcome["change"]["failure"]
    assert (failure["kind"], failure["code"]) == ("protocol", "garbled")
    enrolled.run("rotate", expect=0)


@pytest.mark.parametrize("through_a_daemon", [False, True])
def test_an_order_whose_end_was_not_told_is_answered_with_it(enrolled: Gateway, *, through_a_daemon: bool) -> None:
    """The command was killed after the last step; given again it says how that ended, and then means another one."""
    with RunningDaemon(enrolled) if through_a_daemon else nullcontext() as daemon:
        if daemon:
            daemon.until_up(1)
        enrolled.run("rotate", expect=0)
        asked = len(enrolled.cloud.registry)
        (enrolled.state / "told").unlink()
        again = enrolled.run("rotate", "--json", expect=0)
        assert again.outcome["repeated"] is True
        assert again.outcome["change"]["phase"] == "committed"
        assert (enrolled.generations(), len(enrolled.cloud.registry)) == ((2, 1), asked)

        assert "repeated" not in enrolled.run("rotate", "--json", expect=0).outcome
        assert enrolled.generations() == (3, 2)


def test_a_rollback_goes_back_once_however_often_it_is_typed(enrolled: Gateway) -> None:
    """Stopped by a missing network and typed again it goes on; and once more it says that it was done."""
    enrolled.run("rotate", expect=0)
    enrolled.order("down")
    first = enrolled.run("rollback", "--json", "--wait", "0", expect=5)
    again = enrolled.run("rollback", "--json", "--wait", "0", expect=5)
    assert again.outcome["change"]["id"] == first.outcome["change"]["id"]
    enrolled.order("up")
    change = enrolled.run("rollback", "--json", expect=0).outcome["change"]
    assert (change["id"], change["phase"]) == (first.outcome["change"]["id"], "committed")
    assert enrolled.generations()[0] == 1


def test_a_rollback_that_waits_is_given_up_by_a_word_of_its_own(enrolled: Gateway) -> None:
    """The set in use stays; said again it is done already."""
    enrolled.run("rotate", expect=0)
    enrolled.order("down")
    enrolled.run("rollback", "--wait", "0", expect=5)
    assert "was given up" in enrolled.run("rollback", "--give-up", expect=0).out
    assert enrolled.run("rollback", "--give-up", "--json", expect=0).outcome["repeated"] is True
    assert enrolled.generations() == (2, 1)
