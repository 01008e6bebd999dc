"""Two hosts and a cable: the cloud's network namespace, in which this process runs, and a gateway's of its own.

For a process that `APART` has started: what it makes, no other process sees, and all that it started is gone when
that one is. The gateway finds the cloud as `localhost`, which is the name in the sandbox's certificate.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

CLOUD, GATEWAY = "192.0.2.1", "192.0.2.2"  # RFC 5737
DEVICE = "gateway0"

APART = (
    "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
)  # fmt: skip


class TwoHosts:
    """Both hosts, connected; a context manager.

    Attributes:
        prefix: What starts a program on the gateway.
    """

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.prefix = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net")
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self._holder.pid}/ns/net").readlink() == own:  # until it has left this one
            pass
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "cloud0", "type", "veth", "peer", "name", DEVICE, "netns", str(self._holder.pid))
        run("ip", "address", "add", f"{CLOUD}/24", "dev", "cloud0")
        run("ip", "link", "set", "cloud0", "up")
        self.on_gateway("link", "set", "lo", "up")
        self.on_gateway("link", "set", DEVICE, "up")
        self.plug_in()
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()

    def on_gateway(self, *words: str) -> None:
        """Have `ip` change the gateway's network."""
        run(*self.prefix, "ip", *words)

    def plug_in(self) -> None:
        """Give the gateway its address and its default route, as a DHCP client does."""
        self.on_gateway("address", "add", f"{GATEWAY}/24", "dev", DEVICE)
        self.on_gateway("route", "add", "default", "via", CLOUD)

    def take_lease(self) -> None:
        """Take both away again."""
        self.on_gateway("address", "delete", f"{GATEWAY}/24", "dev", DEVICE)

    def link_up(self) -> None:
        """Set its interface up again, and give it the route that went with it; the address stays."""
        self.on_gateway("link", "set", DEVICE, "up")
        self.on_gateway("route", "add", "default", "via", CLOUD)

    def mute(self, *, ended: bool = False) -> None:
        """Let the cloud's answers get nowhere, of which the gateway's kernel learns nothing; or let them come again."""
        run("ip", "route", "delete" if ended else "add", "blackhole", f"{GATEWAY}/32")

    def command(self, path: Path, program: str) -> str:
        """Write a program that runs another one on the gateway, and return its path."""
        path.write_text(f'#!/bin/sh\nexec {" ".join(self.prefix)} {program} "$@"\n')
        path.chmod(0o755)
        return str(path)


def name_cloud(folder: Path) -> None:
    """Have `localhost` be the cloud for what this process starts; in a mount namespace of its own."""
    hosts = folder / "hosts"
    hosts.write_text(f"{CLOUD} localhost\n")
    run("mount", "--bind", str(hosts), "/etc/hosts")


def run(*words: str) -> None:
    """Run a program that must succeed."""
    subprocess.run(words, check=True, timeout=30)
