"""The product as a person meets it: commands, exit codes, what is on disk and what the cloud saw."""

from __future__ import annotations

import base64
import signal
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from agent.core.change.lifecycle import Phase
from agent.sandbox.replies.faults import Operation
from support.network.tunnels import tunnelling_proxy
from support.running.daemon import RunningDaemon
from support.suite import campaigns

if TYPE_CHECKING:
    from support.running.gateway import Gateway

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


def test_an_endpoint_may_speak_one_tls_version_only(enrolled: Gateway) -> None:
    """AWS's security policies allow TLS 1.2 alone and TLS 1.3 alone; a small client hello is for middleboxes."""
    for number, version in enumerate(("1.2", "1.3"), 2):
        enrolled.order(f"tls {version}")
        enrolled.run("rotate", expect=0)
        assert enrolled.generations() == (number, number - 1)
    enrolled.configure({"trust:\n": "small_client_hello: true\ntrust:\n"})
    enrolled.run("rotate", expect=0)


def test_a_rotation_works_over_alpn(enrolled: Gateway) -> None:
    """Where 8883 is blocked, MQTT goes over 443 with ALPN."""
    enrolled.configure({f"port: {enrolled.service.port}": f"alpn: true\nport: {enrolled.service.alpn_port}"})
    enrolled.run("rotate", expect=0)
    enrolled.configure({"alpn: true": "alpn: false"})
    told = "where it takes the same certificate with ALPN. Set `alpn: true`; nothing is wrong with the certificate."
    assert told in enrolled.run("rotate", "--wait", "0", expect=5).out.replace("\n", " ")
    assert '"alpn-needed"' in enrolled.run("check", "connect", "--json").out
    enrolled.order("revoke current")
    assert '"certificate-refused"' in enrolled.run("check", "connect", "--json").out  # with ALPN, too


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
                told += [enrolled.run("status").out, enrolled.run("check", "--json").out]
                if takes != secret:  # the bundle tells most of what is refused
                    enrolled.run("support-bundle", "--output", str(target), "--json")
                    told.append(target.read_text(errors="replace"))
                told.append(daemon.said())
            enrolled.config.write_text(plain)
            assert bool(asked) == (takes == secret)
    assert "proxy" in "".join(told)
    basic = base64.b64encode(f"gateway:{secret}".encode()).decode()
    assert not [text for text in told if secret in text or basic in text]


@pytest.mark.parametrize("phase", campaigns.take([*HAPPY, "wait"], 5))
def test_a_rotation_killed_in_any_phase_goes_on(enrolled: Gateway, phase: str) -> None:
    """After kill -9 the same command finishes the change, and asks again only when the answer was lost."""
    process = enrolled.fork("rotate")
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
    first = enrolled.fork("rotate")
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
    first = enrolled.fork("rotate")
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


@pytest.mark.parametrize("through_a_daemon", [pytest.param(False, marks=pytest.mark.whole), True])
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


@pytest.mark.whole
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


@pytest.mark.whole
def test_a_rollback_that_waits_is_given_up_by_a_word_of_its_own(enrolled: Gateway) -> None:
    """The set in use stays; said again it is done already."""
    enrolled.run("rotate", expect=0)
    enrolled.order("down")
    enrolled.run("rollback", "--wait", "0", expect=5)
    assert "was given up" in enrolled.run("rollback", "--give-up", expect=0).out
    assert enrolled.run("rollback", "--give-up", "--json", expect=0).outcome["repeated"] is True
    assert enrolled.generations() == (2, 1)
