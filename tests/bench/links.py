"""A link that dies, with and without a word of the system's, one that is back, and a certificate that is deactivated.

The gateway has a network namespace of its own, and its cable leads to the cloud in this one. Its floor is a script with
the same SDK and its usual settings, on the same host at the same time; the kernel's word is heard by a bare listener,
too. `unshare --net --mount python -m bench.links` prints what was found as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from bench import child
from bench.installed import install
from bench.place import FLOORS, THING, BenchError
from support.network import two_hosts
from support.network.two_hosts import TwoHosts
from support.running import gateway
from support.running.daemon import RunningDaemon
from support.running.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.rows import Results

_PATIENCE = 300.0
_LOOK = 0.02  # seconds
_TIMES = 3

# What a gateway has that is configured as the manual says, instead of the times that tests have none for.
_DEFAULTS = {
    "probation: 1s": "probation: 10m",
    "refusal_patience: 1s        # on AWS a minute; here nothing needs time to spread": "refusal_patience: 1m",
    "request: 5s": "request: 30s",
}

_NOTES = {
    "dies": "the answers of the cloud get nowhere; the floor is a script with the SDK and its own patience of 30 s",
    "gone": "the address is taken away; the floor is the kernel's word, which `ip monitor` prints",
    "returned": "address and route are given back after 10 s; the floor is one connect of the script",
    "back": "after the first of these, the cloud's answers come again; the floor is one connect of the script",
    "deactivated": "with the times of the defaults; the floor is one connect of the script",
}

Times = dict[str, list[float]]


class Bench:
    """One gateway, its daemon, and the other host."""

    def __init__(self, hosts: TwoHosts, site: Gateway, daemon: RunningDaemon, python: str) -> None:
        self.hosts = hosts
        self.site = site
        self.daemon = daemon
        self._python = python

    def script(self) -> subprocess.Popen[bytes]:
        """Start the floor on the gateway; it says when its connection comes up and when it goes."""
        folder = (self.site.state / "current").resolve()
        files = (self.site.directory / "roots.pem", folder / "certificate.pem", folder / "key.pem")
        command = [*self.hosts.prefix, self._python, "-I", str(FLOORS / "session.py"), str(self.site.service.port)]
        return subprocess.Popen([*command, THING, *map(str, files)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def is_told(self) -> bool:
        """Whether status, exit code and metrics all say that there is no connection."""
        told = self.daemon.ask("status")
        metrics = (self.daemon.runtime / "metrics.prom").read_text()
        return (
            told["document"]["connection"]["state"] != "up"
            and told["exit"] != 0
            and 'connection{state="up"} 0' in metrics
            and 'code="no-connection"' in metrics
        )

    def is_up(self) -> bool:
        """Whether there is a connection, as the daemon and the cloud say."""
        return self.daemon.connection == "up" and bool(self.daemon.live())


def until(condition: Callable[[], bool]) -> float:
    """Return the seconds until something holds.

    Raises:
        BenchError: It does not.
    """
    start = monotonic()
    while not condition():
        if monotonic() - start > _PATIENCE:
            raise BenchError(f"nothing came of {condition.__name__}")
        sleep(_LOOK)
    return monotonic() - start


def line(process: subprocess.Popen[bytes], expected: bytes) -> float:
    """Return the seconds until a process says something."""
    start, said = monotonic(), b""
    assert process.stdout is not None
    while said != expected:
        said = process.stdout.readline().strip()
        if not said:
            raise BenchError("the floor has ended")
    return monotonic() - start


def _connect(bench: Bench) -> float:
    """Return the seconds that one connect of the script takes, from its start on."""
    with bench.script() as script:
        seconds = line(script, b"up")
        script.kill()
    return seconds


def silent(bench: Bench, found: Times) -> None:
    """Let the link die without a word, and be back without one."""
    script = bench.script()
    line(script, b"up")
    bench.hosts.mute()
    found["dies"].append(until(bench.is_told))
    found["dies.floor"].append(found["dies"][-1] + line(script, b"down"))
    bench.hosts.mute(ended=True)
    found["back"].append(until(bench.is_up))
    found["back.floor"].append(_connect(bench))
    script.kill()
    script.wait()


def announced(bench: Bench, found: Times) -> None:
    """Take the lease away, of which the kernel tells, and give it back."""
    hears = subprocess.Popen(
        [*bench.hosts.prefix, "ip", "-oneline", "monitor", "address"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with hears:
        sleep(1)  # it listens when it has no more to say of its start
        start = monotonic()
        bench.hosts.take_lease()
        assert hears.stdout is not None
        hears.stdout.readline()
        found["gone.floor"].append(monotonic() - start)
        found["gone"].append(found["gone.floor"][-1] + until(bench.is_told))
        hears.kill()
    sleep(10)  # by then attempts have failed, too
    bench.hosts.plug_in()
    start = monotonic()
    found["returned"].append(until(bench.is_up))
    found["returned.floor"].append(_connect(bench))


def deactivated(bench: Bench, found: Times) -> None:
    """Rotate, and have the new certificate deactivated in its probation, which ends its session."""
    bench.daemon.ask("rotate", reason="a measurement", no_wait=True)
    bench.daemon.until_phase("deployed")
    until(bench.is_up)
    certificate = bench.daemon.live()[0]
    bench.site.order(f"deactivate {certificate}")
    start = monotonic()
    found["deactivated"].append(
        until(lambda: bench.is_up() and bench.daemon.live() != [certificate] and monotonic() - start > _LOOK)
    )
    found["deactivated.floor"].append(_connect(bench))


def put(results: Results) -> None:
    """Measure in a process of its own and enter what was found.

    Raises:
        BenchError: It failed.
    """
    if os.geteuid() != 0:
        raise BenchError("a network of one's own needs root")
    found = child.ask("bench.links", 600, before=two_hosts.APART)
    for name, note in _NOTES.items():
        results.put(f"links.{name}", found[name], found[f"{name}.floor"], note)


def measure() -> dict[str, Any]:
    """Return what was found: seconds, by name."""
    found: Times = {
        name + floor: [] for name in ("dies", "back", "gone", "returned", "deactivated") for floor in ("", ".floor")
    }
    with ExitStack() as later:
        folder = Path(later.enter_context(tempfile.TemporaryDirectory(prefix="iot-cert-bench-", dir="/dev/shm")))
        python = install(folder / "environment")
        hosts = later.enter_context(TwoHosts())
        two_hosts.name_cloud(folder)
        (folder / "gateway").mkdir()
        site = later.enter_context(Gateway(folder / "gateway", settings=_DEFAULTS, address="0.0.0.0"))  # noqa: S104 - of a namespace
        site.enroll()
        gateway.COMMAND = hosts.command(folder / "iot-cert", gateway.COMMAND)
        daemon = later.enter_context(RunningDaemon(site, started=True))
        daemon.until_up()
        bench = Bench(hosts, site, daemon, python)
        for _ in range(_TIMES):
            announced(bench, found)
        silent(bench, found)
        deactivated(bench, found)
    return found


def main() -> None:
    """Print it."""
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
