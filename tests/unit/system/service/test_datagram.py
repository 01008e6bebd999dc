from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from agent.system.service.datagram import has_room

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("address", ["{path}/socket", "\0iot-cert-test-{pid}"])
def test_a_receiver_has_room_until_its_queue_is_full(address: str, tmp_path: Path) -> None:
    """Looking takes none of it."""
    address = address.format(path=tmp_path, pid=os.getpid())
    assert not has_room(address)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender,
    ):
        receiver.bind(address)
        number = 0
        while has_room(address):
            sender.sendto(b"x", address)
            number += 1
        with pytest.raises(BlockingIOError):
            sender.sendto(b"x", address)
        assert not has_room(address, 0.01)
        assert number > 1
        receiver.recv(1)
        assert has_room(address)
    assert not has_room(address)


@pytest.mark.parametrize("name", ["a file", "a stream", "a path that is too long"])
def test_what_is_no_datagram_socket_has_none(name: str, tmp_path: Path) -> None:
    """Whatever it is, nothing is raised."""
    (tmp_path / "a file").touch()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "a stream"))
        listener.listen()
        assert not has_room(str(tmp_path / name) if "long" not in name else "/" + "x" * 200)
