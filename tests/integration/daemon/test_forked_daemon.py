"""A daemon that the tests fork, and its workers, are as those that systemd starts; else they would prove nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from support.running.daemon import RunningDaemon
from support.suite import warm_workers

if TYPE_CHECKING:
    from support.running.gateway import Gateway

# What a process has of the one that started it, in /proc/PID/status.
TAKEN_OVER = ("PPid", "Umask", "Uid", "Gid", "Groups", "NoNewPrivs", "CapEff", "SigBlk", "SigIgn", "SigCgt")
GLIBCS_OWN = 0b11 << 31  # signals 32 and 33, which posix_spawn has ignored


def surroundings(pid: int) -> dict[str, str]:
    """Return what a process was given, and what it has made of it."""
    status = (line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    found = {name: value.strip() for name, value in status if name in TAKEN_OVER}
    found |= {name: f"{int(found[name], 16) & ~GLIBCS_OWN:x}" for name in ("SigBlk", "SigIgn", "SigCgt")}
    files = {f"file {fd}": str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in (0, 1, 2)}
    return found | {"cwd": str(Path(f"/proc/{pid}/cwd").readlink())} | files


def seen(gateway: Gateway, generation: int, *, started: bool) -> list[dict[str, str]]:
    """Return what a daemon and its worker in the middle of a rotation have around them."""
    gateway.order("fault register ignore")
    with RunningDaemon(gateway, started=started) as daemon:
        daemon.until_up(generation)
        gateway.run("rotate", "--no-wait", expect=0)
        daemon.until_said("The certificate has come")
        (worker,) = daemon.workers()
        found = [surroundings(daemon.pid), surroundings(worker)]
        assert found[1].pop("PPid") == str(daemon.pid)
        assert found[1].pop("file 1").startswith("pipe:")
        del found[0]["PPid"]
        if not started:
            daemon.until_up(generation + 1)  # for the other one
    daemon.log.unlink()
    return found


def test_both_have_the_same_around_them(enrolled: Gateway) -> None:
    """Parent, umask, user, signals, files and folder."""
    enrolled.expect_silence()
    forked, started = seen(enrolled, 1, started=False), seen(enrolled, 2, started=True)
    assert forked == started


def test_what_forks_workers_ends_without_a_word_with_a_daemon_that_is_killed() -> None:
    """Also in the moment in which it has forked one, and the daemon has not read of it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    forker = os.fork()
    if forker == 0:
        ours.close()
        try:
            warm_workers._serve(theirs)  # which returns in a worker
        finally:
            os._exit(1)
    theirs.close()
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123 - a file to pass on
        socket.send_fds(ours, [b'{"argv": [], "env": {}}'], [nothing.fileno()] * 2)
    worker = int(ours.recv(100, socket.MSG_PEEK))
    ours.close()
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (worker, forker)] == [1, 0]
