from __future__ import annotations

from typing import TYPE_CHECKING

from agent.config.reader import load
from agent.fleet.trial.device import TrialDevice, TrialPlace
from support.aws.account import certificate_id

if TYPE_CHECKING:
    from pathlib import Path


def made(directory: Path) -> TrialDevice:
    """Return a test device."""
    device = TrialDevice(directory)
    device.transcript.write_text("seen")
    device.make(
        {"serial": "s", "thing": "t", "claim": "c"},
        ("certificate", "key"),
        TrialPlace(endpoint="a-ats.iot.eu-west-1.amazonaws.com", port=8883, anchors=directory / "roots.pem"),
        ("gateway", "gateway-rotation"),
    )
    device.show_token("sesame")
    return device


def test_its_configuration_is_one_that_the_agent_takes(tmp_path: Path) -> None:
    """Whatever the directory is called."""
    place = tmp_path / 'a "directory": with {marks}'
    place.mkdir()
    device = made(place)
    read = load(device.directory / "config.yaml")
    assert read.target.host == "a-ats.iot.eu-west-1.amazonaws.com"
    assert device.known == {"serial": "s", "thing": "t", "claim": "c"}
    assert device.certificate_id() == ""


def test_certificates_are_noted_beside_those_of_before(tmp_path: Path) -> None:
    """Also when a process has ended while it wrote."""
    device, names = made(tmp_path), [certificate_id(number) for number in range(3)]
    assert device.noted == frozenset()
    device.note(names[:2])
    with (tmp_path / "certificates").open("a") as file:
        file.write(f"\n{names[2][:7]}")
    assert TrialDevice(tmp_path).noted == {*names[:2]}
    TrialDevice(tmp_path).note(names[1:])
    assert device.noted == {*names}


def test_its_keys_are_its_owners_alone_and_go_with_it(tmp_path: Path) -> None:
    """The transcript stays."""
    device = made(tmp_path)
    assert device.secrets == ["sesame"]
    for name in ("claim.key", "token", "config.yaml", "device.json"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    (tmp_path / "state" / "generations").mkdir(parents=True)
    device.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["transcript.md"]
    assert device.known == {}
    assert device.secrets == []


def test_a_command_that_is_refused_says_so(tmp_path: Path) -> None:
    """By its exit code and what it printed, both streams."""
    ran = made(tmp_path).run("status", "--no-such-option")
    assert ran.code == 2
    assert "--no-such-option" in ran.said
