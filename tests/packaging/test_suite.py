"""The suite itself: what starts it decides nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import surroundings

SUPPORT = Path(__file__).parents[1] / "support"
LOOK = """
import json, os, resource, signal, surroundings
surroundings.settle()
ignored = [name.name for name in signal.Signals if signal.getsignal(name) is signal.SIG_IGN]
blocked = [name.name for name in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
umask = os.umask(0)
print(json.dumps([ignored, blocked, umask, resource.getrlimit(resource.RLIMIT_NOFILE)[0], dict(os.environ)]))
"""
# What Python ignores by itself; `subprocess` gives what it starts the usual ones again.
PYTHONS_OWN = ["SIGPIPE", "SIGXFSZ"]


def test_nothing_is_inherited_from_what_starts_it() -> None:
    """A background job of a shell ignores Ctrl-C, under `nohup` a hang-up; a umask, a language and variables are so."""
    started = 'trap "" INT HUP QUIT TERM USR1 USR2; umask 0; ulimit -Sn 256; exec "$@"'
    odd = {"LANG": "de_DE", "LC_ALL": "tr_TR", "TZ": "Asia/Kathmandu", "COLUMNS": "20", "https_proxy": "http://x:1"}
    odd |= {"NOTIFY_SOCKET": "@x", "LISTEN_FDS": "1", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(SUPPORT)}
    done = subprocess.run(
        ["/bin/sh", "-c", started, "sh", sys.executable, "-c", LOOK], env=odd, capture_output=True, check=True
    )
    ignored, blocked, umask, files, environment = json.loads(done.stdout)

    assert (ignored, blocked, umask) == (PYTHONS_OWN, [], surroundings.UMASK)
    assert files == surroundings.FILES
    assert {name: environment[name] for name in ("LANG", "TZ", "COLUMNS")} == {
        "LANG": "C.UTF-8", "TZ": "UTC", "COLUMNS": "80",
    }  # fmt: skip
    assert {"LC_ALL", "https_proxy", "NOTIFY_SOCKET", "LISTEN_FDS"} & set(environment) == set()
    assert environment["PATH"] == "/usr/bin:/bin:/usr/sbin:/sbin"


def test_this_run_has_those_surroundings() -> None:
    """In each of its processes, before the first test."""
    before = os.umask(0o777)
    os.umask(before)
    assert before == surroundings.UMASK
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert os.environ["TZ"] == "UTC"


@pytest.mark.parametrize(("ci", "so"), [("", False), ("0", False), ("false", False), ("true", True), ("1", True)])
def test_in_continuous_integration_nothing_is_skipped_for_lack_of_a_right(
    monkeypatch: pytest.MonkeyPatch, ci: str, *, so: bool
) -> None:
    """On a laptop it is."""
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    outcome = pytest.fail.Exception if so else pytest.skip.Exception
    with pytest.raises(outcome, match="needs root"):
        surroundings.need_root()
