from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_START = "import sys\nfrom agent.system import late\nlate.put_off()\nimport pathlib\n"
_TELL = "import urllib, urllib.parse\nprint(urllib.parse is sys.modules['urllib.parse'], type(urllib.parse).__name__)"
_PLAIN = """
class Listener:
    def one(self, given): pass
    def two(self, first, second): pass
def callback(given, more=1): pass
print([str(inspect.signature(each)) for each in (Listener.one, Listener().one, callback)])
"""
_BIND = """
import inspect
class Listener:
    def one(self, given): pass
    def two(self, first, second): pass
def callback(given, more=1): pass
def named(given, *, must): pass
def any_number(*given): pass
fitting = [callback, Listener().one, lambda _: None]
for each in fitting: inspect.signature(each).bind(None)
print(type(sys.modules['inspect']).__name__)
print(inspect.signature(callback).bind(7).arguments)
inspect.signature(any_number).bind(None)
for each in (Listener().two, Listener.two, named, lambda: None):
    try: inspect.signature(each).bind(None)
    except TypeError as error: print(error)
"""
_TRACEBACK = """
import traceback
print(type(sys.modules["linecache"]).__name__ * (type(sys.modules["linecache"]) is not late._StandIn), end="")
try: late._read("nowhere.at_all")
except ImportError: print(traceback.format_exc().splitlines()[3].strip())
"""
_DATACLASS = """
import dataclasses
@dataclasses.dataclass
class Bare:
    number: int
print(Bare.__doc__)
"""
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
    assert run(script + _TELL) == "/a b False\nTrue _UrllibParse"


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


def test_the_sdk_sees_that_a_callback_takes_one_argument() -> None:
    """Without the module, which tells a caller that wants to know more, and refuses one that does not, in its words."""
    missing = [f"missing a required argument: '{name}'" for name in ("second", "first", "must")]
    assert run(_BIND).splitlines() == ["_Inspect", "{'given': 7}", *missing, "too many positional arguments"]


@pytest.mark.parametrize(
    ("asks", "answer"),
    [
        (
            "import inspect\n" + _PLAIN,
            "['(self, given)', '(given)', '(given, more=1)']",
        ),
        ("import inspect\nprint(inspect.signature(len))", "(obj, /)"),
        ("from inspect import isfunction\nprint(isfunction(late.put_off))", "True"),
        ("from inspect import signature\nprint(*signature(late.put_off).parameters)", ""),
        (_DATACLASS, "Bare(number: int)"),
        (_TRACEBACK, "__import__(name)"),
    ],
)
def test_signatures_are_those_of_the_module(asks: str, answer: str) -> None:
    """Whatever is asked of them."""
    assert run(asks) == answer


def test_nothing_that_the_daemon_imports_reads_them() -> None:
    """Not to make a class, and not to connect: a class of ours without a docstring would."""
    script = (
        "from agent.daemon import app\nfrom awscrt import mqtt5\nfrom agent.iotcore import async_client\n"
        "mqtt5._check_callback(lambda _: None)\n"
        "read = {'ast', 'base64', 'dis', 'inspect', 'ipaddress', 'tokenize', 'urllib.parse'} & set(sys.modules)\n"
        "print(*sorted(read), type(sys.modules['inspect']).__name__)"
    )
    assert run(script) == "inspect urllib.parse _Inspect"
