"""The network of a gateway goes and comes back, on a host of its own: what its daemon and its metrics say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.network.two_hosts import APART

STORY = """\
import sys, tempfile
from pathlib import Path
from support.running import gateway; from support.network import two_hosts
from support.running.daemon import RunningDaemon
from support.running.gateway import Gateway
from support.network.two_hosts import DEVICE, TwoHosts

def told(daemon):
    answer = daemon.ask("status")
    metrics = (daemon.runtime / "metrics.prom").read_text()
    return answer["document"]["connection"]["state"] != "up", answer["exit"], 'code="no-connection"' in metrics

with tempfile.TemporaryDirectory(dir="/dev/shm") as folder, TwoHosts() as hosts:
    two_hosts.name_cloud(Path(folder))
    (Path(folder) / "gateway").mkdir()
    with Gateway(Path(folder) / "gateway", address="0.0.0.0") as site:
        site.enroll()
        gateway.COMMAND = hosts.command(Path(folder) / "iot-cert", gateway.COMMAND)
        with RunningDaemon(site, started=True) as daemon:
            daemon.until_up()
            print(told(daemon), flush=True)
            for take, give in (
                (hosts.take_lease, hosts.plug_in),
                (lambda: hosts.on_gateway("link", "set", DEVICE, "down"), hosts.link_up),
            ):
                take()
                daemon.until(lambda: told(daemon) == (True, 1, True), "word of the network")
                give()
                daemon.until_up(1)
                daemon.until(lambda: told(daemon) == (False, 0, False), "word of the connection")
            print(daemon.said().count("lost the address or the route"))
"""


@pytest.mark.root
def test_a_network_that_goes_and_comes_is_told_and_followed() -> None:
    """By status, exit code and metrics, with its reason; a further attempt follows when there is a network again."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*APART, sys.executable, "-c", STORY], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["(False, 0, False)", "2"]
