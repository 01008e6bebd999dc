from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_START = "import sys\nfrom agent.system import late\nlate.put_off()\nimport pathlib\n"
_TELL = "import urllib, urllib.parse\nprint(urllib.parse is sys.modules['urllib.parse'], type(urllib.parse).__name__)"
_THREADS = """
import threading
found, gate = [], threading.Barrier(8)
def ask():
    gate.wait()
    found.append(pathlib.Path('/a b').as_uri())
threads = [threading.Thread(target=ask) for _ in range(8)]
for each in threads: each.start()
for each in threads: each.join()
print(len(found), set(found))
"""


def run(script: str, start: str = _START) -> str:
    """Return what a script says in a process that has read nothing before."""
    command = [sys.executable, "-I", "-c", start + script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_path_does_not_need_it() -> None:
    """Nor what it would have read."""
    script = "print(pathlib.Path('/a b').resolve(), 'ipaddress' in sys.modules)\n"
    assert run(script + _TELL) == "/a b False\nTrue _StandIn"


@pytest.mark.parametrize(
    ("asks", "answer"),
    [
        ("print(pathlib.Path('/a b').as_uri())", "file:///a%20b"),
        ("import urllib.parse\nprint(urllib.parse.urlsplit('mqtts://x.example:8883').port)", "8883"),
        ("from urllib.parse import quote\nprint(quote('/a b'))", "/a%20b"),
        ("import urllib.parse as late\nprint(late.quote('/a b'), late is sys.modules['urllib.parse'])", "/a%20b False"),
        ("from urllib.parse import *\nprint(quote('/a b'))", "/a%20b"),
        ("import urllib.request\nprint(urllib.request.Request('https://x.example/').host)", "x.example"),
    ],
)
def test_what_is_asked_is_answered_by_the_module_itself(asks: str, answer: str) -> None:
    """However it was imported; and it is in its own place from then on."""
    assert run(f"{asks}\n{_TELL}") == f"{answer}\nTrue module"


def test_what_was_read_before_stays() -> None:
    """A stand-in for it would only be slower."""
    assert run(_TELL, "import urllib.parse\n" + _START) == "True module"


def test_threads_may_ask_at_once() -> None:
    """None meets a module that is half read."""
    assert run(_THREADS) == "8 {'file:///a%20b'}"


def test_a_module_that_cannot_be_read_is_told_each_time(tmp_path: Path) -> None:
    """As an import of it is; what does not ask goes on."""
    (tmp_path / "ipaddress.py").write_text("raise OSError(5, 'Input/output error')\n")
    ask = "try: pathlib.Path('/a b').as_uri()\nexcept OSError as error: print(error.errno)\n"
    assert run(f"sys.path.insert(0, {str(tmp_path)!r})\n{ask * 2}print(pathlib.Path('/a b'))") == "5\n5\n/a b"
