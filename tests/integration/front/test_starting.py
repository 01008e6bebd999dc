"""The local IoT Core and its broker start, stop, and say why they do not."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.sandbox.network import mosquitto as mosquitto_module
from agent.sandbox.network.mosquitto import Mosquitto
from agent.sandbox.service import LocalCloud
from support.running.front import Wire, client_context, device

if TYPE_CHECKING:
    from pathlib import Path

    from agent.sandbox.cloud import Cloud


def test_nothing_is_left_after_a_stop(cloud: Cloud, tmp_path: Path) -> None:
    """No thread, no process, no socket; the port is free and clients were hung up on."""
    before = set(threading.enumerate())
    local = LocalCloud(cloud, tmp_path)
    with local, Wire(local, client_context(local, device(cloud), tmp_path)) as client:
        client.connect()
        broker = local.broker.pid
        assert broker is not None
        local.stop()
        assert client.rest() == []
    assert set(threading.enumerate()) == before
    assert not tmp_path.joinpath("mosquitto.sock").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(broker, 0)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", local.port))


def test_a_port_in_use_is_an_error_for_a_person(local: LocalCloud, cloud: Cloud, tmp_path: Path) -> None:
    """The message names the port, and nothing was left running."""
    folder = tmp_path / "second"
    folder.mkdir()
    with pytest.raises(AgentError, match=str(local.port)):
        LocalCloud(cloud, folder, ports=(local.port, 0)).start()
    assert not folder.joinpath("mosquitto.sock").exists()


def test_a_vending_machine_without_its_port_leaves_nothing_running(
    local: LocalCloud, cloud: Cloud, tmp_path: Path
) -> None:
    """Neither the endpoint nor the broker that were up by then."""
    before, folder = set(threading.enumerate()), tmp_path / "second"
    folder.mkdir()
    second = LocalCloud(cloud, folder)
    second.vending.url = local.vending.url
    with pytest.raises(AgentError, match=local.vending.url.split("/")[2].rpartition(":")[2]), second:
        pass
    assert set(threading.enumerate()) == before
    assert not folder.joinpath("mosquitto.sock").exists()


def test_a_missing_mosquitto_is_an_error_with_the_package_to_install(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint is the command."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(mosquitto_module, "_SYSTEM_FOLDERS", str(tmp_path))
    with pytest.raises(AgentError) as caught:
        LocalCloud(cloud, tmp_path).start()
    assert caught.value.hint == "apt-get install mosquitto"


def test_a_broker_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the broker's own words."""
    monkeypatch.setattr(mosquitto_module, "_CONFIGURATION", "listener 0 {socket}\nno_such_option true\n")
    with pytest.raises(AgentError, match="no_such_option"):
        Mosquitto(tmp_path).start()


def test_a_long_or_odd_path_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    """The kernel allows 107 bytes, and the broker's configuration no blanks."""
    folder = tmp_path / "with blank" / ("x" * 120)
    folder.mkdir(parents=True)
    with Mosquitto(folder) as broker:
        assert len(str(broker.socket_path)) < 108
        assert broker.socket_path.is_socket()
    assert not broker.socket_path.parent.exists()
