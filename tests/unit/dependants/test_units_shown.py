"""What shows that a unit uses the set: the certificate that it serves, or a command's word."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from agent.dependants import units
from agent.errors import RefusedError
from support.network.servers import closed_port, pieces, server
from support.running.systemd import Systemctl, lay, tls_server
from support.unit.dependants.systemctl import GIVEN, LONG, NAME, unit, verifying

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.dependants.export import Extract
    from support.running.systemd import Laid
    from support.simulated.virtual import Time

pytestmark = pytest.mark.usefixtures("time")  # nothing is waited for between two looks


# -- what it shows -----------------------------------------------------------------------------------------------------


@pytest.fixture(name="sets")
def _sets(tmp_path: Path) -> tuple[Laid, Laid]:
    """Two sets, the first of which is what a server has."""
    first, second = lay(tmp_path / "state", 1), lay(tmp_path / "state", 2)
    for laid in (first, second):
        (tmp_path / f"pair-{laid.number}.pem").write_bytes(laid.key_pem + laid.chain_pem)
    (tmp_path / "pair.pem").write_bytes(first.key_pem + first.chain_pem)
    return first, second


def of(laid: Laid) -> Extract:
    """Return what is given of a set."""
    return replace(GIVEN, certificate_id=laid.certificate_id)


@pytest.mark.parametrize("ask", [False, True])
def test_a_server_that_shows_the_new_certificate_uses_it(
    systemctl: Systemctl, tmp_path: Path, sets: tuple[Laid, Laid], *, ask: bool
) -> None:
    """It is the leaf that counts, and not who signed it; also where clients must have a certificate."""
    systemctl.has(NAME, run=f"cp {tmp_path}/pair-2.pem {tmp_path}/pair.pem")
    with tls_server(tmp_path / "pair.pem", ask=ask) as address:
        assert systemctl.systemd.serve(verifying(tls=address), of(sets[1])) == ""
        assert systemctl.systemd.is_served(verifying(tls=address), of(sets[1]))
        assert not systemctl.systemd.is_served(verifying(tls=address), of(sets[0]))


def test_a_server_that_shows_another_certificate_does_not(
    systemctl: Systemctl, tmp_path: Path, sets: tuple[Laid, Laid]
) -> None:
    """The sentence says which, by the beginning of its fingerprint."""
    systemctl.has(NAME)
    with tls_server(tmp_path / "pair.pem") as address:
        said = systemctl.systemd.serve(verifying(tls=address), of(sets[1]))
    shown = sets[0].certificate_id[:12]
    assert said == f"{NAME} does not use the new certificate: {address} shows another certificate, {shown}."


@pytest.mark.parametrize(("seconds", "in_time"), [(30, True), (31, False)])
def test_a_server_may_take_its_time_to_show_it(
    systemctl: Systemctl, time: Time, tmp_path: Path, sets: tuple[Laid, Laid], *, seconds: float, in_time: bool
) -> None:
    """It is asked again until the unit's time is over."""
    systemctl.has(NAME)
    time.after(seconds, lambda: (tmp_path / "pair-2.pem").replace(tmp_path / "pair.pem"))
    with tls_server(tmp_path / "pair.pem") as address:
        assert (systemctl.systemd.serve(verifying(tls=address), of(sets[1])) == "") is in_time


@pytest.mark.parametrize("kind", ["absent", "silent", "plain", "drip"])
def test_what_is_no_server_is_a_problem(systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """No server listens, or one never speaks, or speaks something else; none is waited for beyond the unit's time."""
    monkeypatch.setattr(units, "HANDSHAKE", 0.2)
    systemctl.has(NAME)
    with _listening(kind) as port:
        address = f"127.0.0.1:{port}"
        said = systemctl.systemd.serve(verifying(tls=address), GIVEN)

    assert said.startswith(f"{NAME} does not use the new certificate: {address} cannot be asked (")
    assert said.endswith(").")


# A word of another protocol, and a handshake's first message, of which a byte comes at a time.
_TALKS = {
    "plain": lambda connection: connection.sendall(b"220 mail.example ESMTP\r\n"),
    "drip": pieces(b"\x16\x03\x03\x40\x00\x02", b"\0"),
}


@contextmanager
def _listening(kind: str) -> Iterator[int]:
    if kind in _TALKS:
        with server(_TALKS[kind]) as port:
            yield port
    elif kind == "absent":
        yield closed_port()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield listener.getsockname()[1]


def test_a_name_that_is_looked_up_without_end_is_a_problem(
    systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The C library asks each server of `resolv.conf` for seconds, and again."""
    monkeypatch.setattr(units, "HANDSHAKE", 0.2)
    systemctl.has(NAME)
    over = threading.Event()

    def look_up(*_: object) -> list[object]:
        over.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    said = systemctl.systemd.serve(verifying(tls="broker.example:8883"), GIVEN)
    over.set()
    assert said == f"{NAME} does not use the new certificate: broker.example:8883 cannot be asked (no answer in time)."


@pytest.mark.parametrize(
    "address", ["127.0.0.1:0", "127.0.0.1:99999", ".example:1", "a..b:1", "[::1]:1", "no-such-host.invalid:1"]
)
def test_an_address_that_leads_nowhere_is_a_problem(systemctl: Systemctl, address: str) -> None:
    """The configuration lets some through that no host can have; none of them raises."""
    systemctl.has(NAME)
    said = systemctl.systemd.serve(verifying(tls=address), GIVEN)
    assert said.startswith(f"{NAME} does not use the new certificate: {address} cannot be asked (")


def test_a_unit_without_a_server_is_served_as_far_as_is_known(systemctl: Systemctl) -> None:
    """And systemd is not asked for it."""
    systemctl.has(NAME)
    assert systemctl.systemd.is_served(unit(), GIVEN)
    assert systemctl.calls == []


@pytest.mark.parametrize("state", ["inactive", "failed", "activating"])
def test_a_unit_that_does_not_run_shows_nothing_and_is_served(systemctl: Systemctl, state: str) -> None:
    """It reads the files when it starts."""
    systemctl.has(NAME, ActiveState=state)
    assert systemctl.systemd.is_served(verifying(tls="127.0.0.1:1"), GIVEN)
    systemctl.be("broken")
    assert systemctl.systemd.is_served(verifying(tls="127.0.0.1:1"), GIVEN)


# -- what a command says -----------------------------------------------------------------------------------------------


def test_a_command_confirms_by_ending_with_success(systemctl: Systemctl, tmp_path: Path) -> None:
    """Its arguments are what is configured, whatever stands in them."""
    systemctl.has(NAME)
    out = tmp_path / "a b; c"
    assert systemctl.systemd.serve(verifying(command=("/usr/bin/touch", str(out))), GIVEN) == ""
    assert out.exists()


def test_a_command_that_fails_does_not_confirm(systemctl: Systemctl) -> None:
    """It says no."""
    systemctl.has(NAME)
    said = f"{NAME}: /bin/false does not confirm the new set: it ended with exit code 1."
    assert systemctl.systemd.serve(verifying(command=("/bin/false",)), GIVEN) == said


def test_a_command_that_cannot_be_asked_is_told_at_once(systemctl: Systemctl) -> None:
    """Only a person can put it there, so it is not waited for."""
    systemctl.has(NAME)
    with pytest.raises(RefusedError) as caught:
        systemctl.systemd.serve(verifying(command=("/no/such",)), GIVEN)
    said = "/no/such does not confirm the new set: it could not be started: No such file or directory."
    assert str(caught.value) == f"{NAME}: {said}"


def test_a_command_is_asked_again_until_the_time_is_over(systemctl: Systemctl, tmp_path: Path) -> None:
    """As a server is: a program may need a moment."""
    systemctl.has(NAME)
    script = f"echo >> {tmp_path}/asked; [ $(wc -l < {tmp_path}/asked) -ge 3 ]"
    assert systemctl.systemd.serve(verifying(command=("/bin/sh", "-c", script)), GIVEN) == ""
    assert (tmp_path / "asked").read_text() == "\n\n\n"


def test_a_command_that_hangs_is_ended(systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the unit's time is over, and a second is left in any case."""
    monkeypatch.setattr("agent.system.processes.programs.GRACE", 0.2)
    systemctl.has(NAME)
    wanted = replace(verifying(command=("/bin/sleep", "600")), healthy=LONG - timedelta(seconds=0.1))
    said = systemctl.systemd.serve(wanted, GIVEN)
    assert said == f"{NAME}: /bin/sleep does not confirm the new set: it took longer than 1 s and was ended."


def test_both_must_be_shown(systemctl: Systemctl, tmp_path: Path, sets: tuple[Laid, Laid]) -> None:
    """The server first; without it the command is not asked."""
    systemctl.has(NAME)
    command = ("/usr/bin/touch", str(tmp_path / "asked"))
    with tls_server(tmp_path / "pair.pem") as address:
        assert systemctl.systemd.serve(verifying(tls=address, command=command), of(sets[1]))
        assert not (tmp_path / "asked").exists()
        assert systemctl.systemd.serve(verifying(tls=address, command=command), of(sets[0])) == ""
        assert (tmp_path / "asked").exists()
