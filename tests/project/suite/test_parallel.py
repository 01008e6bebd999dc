"""A run in several processes: each test is run once, and what comes of it is told as of a run in one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.suite import order

TESTS = Path(__file__).parents[2]
PLUGIN = """
from support.suite import parallel

def pytest_configure(config):
    shared = lambda item: str(item.path)
    plugin = parallel.Processes(2, shared, lambda: "counted", lambda counts: print(counts, file=open("counts", "a")))
    config.pluginmanager.register(plugin)
"""
MADE = """
import pytest

@pytest.fixture(scope="session")
def once(tmp_path_factory):
    yield tmp_path_factory.getbasetemp()
    print("ended", file=open("ended", "a"))

@pytest.fixture(scope="module")
def site(once):
    print("made", file=open("made", "a"))
    return once
"""


def run(at: Path, *options: str, **files: str) -> subprocess.CompletedProcess[str]:
    """Run tests from files of these names in two processes."""
    (at / "conftest.py").write_text(PLUGIN + MADE)
    for name, text in files.items():
        (at / f"test_{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(at), *options]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{TESTS}:{at}", "COLUMNS": "80"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # none is the subject, and they cost as much as pytest
    return subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)


def lines(path: Path) -> list[str]:
    """Return those of a file."""
    return path.read_text().splitlines()


def test_each_test_is_run_once_and_told(tmp_path: Path) -> None:
    """With what it printed; what a file shares is made once, what a process has ends with it; each tells its counts."""
    passing = "def test_one(site):\n    assert site.is_dir()\n\ndef test_two(site):\n    print('quiet')\n"
    failing = "def test_it(site):\n    print('said')\n    assert 1 == 2\n"

    done = run(tmp_path, a=passing, b=failing, c=passing.replace("one", "three"))

    assert done.stderr == ""
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "said" in done.stdout
    assert "quiet" not in done.stdout
    assert "FAILED test_b.py::test_it - assert 1 == 2" in done.stdout
    assert re.fullmatch(r"1 failed, 4 passed in [\d.]+s", done.stdout.splitlines()[-1])
    assert lines(tmp_path / "made") == ["made"] * 3
    assert lines(tmp_path / "ended") == ["ended"] * 2
    assert lines(tmp_path / "counts") == ["counted"] * 2


def test_a_process_that_ends_fails_its_test_alone(tmp_path: Path) -> None:
    """What comes after it in its file is run by another process."""
    killed = "import os\n\ndef test_a():\n    pass\n\ndef test_b():\n    os.kill(os.getpid(), 9)\n\n"
    killed += "def test_c():\n    pass\n\ndef test_d():\n    os._exit(3)\n"

    done = run(tmp_path, a=killed, b="def test_e():\n    pass\n")

    assert "The process that ran this test was ended by SIGKILL." in done.stdout
    assert "The process that ran this test ended with exit code 3." in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 failed, 3 passed in ")
    assert lines(tmp_path / "counts") == ["counted"] * 2


def test_a_run_stops_where_it_is_asked_to(tmp_path: Path) -> None:
    """After a failure no other test is begun, and a fault of the suite itself is no success."""
    slow = "from pathlib import Path\n\n" + "".join(f"def test_{n}():\n    assert {n} != 1\n\n" for n in range(9))

    done = run(tmp_path, "-x", a=slow)

    assert "stopping after 1 failures" in done.stdout
    assert done.stdout.splitlines()[-3].startswith("FAILED test_a.py::test_1")
    assert "1 failed, 1 passed in " in done.stdout.splitlines()[-1]


def test_a_fault_of_the_suite_is_no_success(tmp_path: Path) -> None:
    """Such as a hook that breaks in a process that runs tests."""
    broken = PLUGIN + "\n\ndef pytest_runtest_protocol(item):\n    raise RuntimeError('broken')\n"
    (tmp_path / "broken.py").write_text(broken.partition("plugin)")[2])

    done = run(tmp_path, "-p", "broken", a="def test_it():\n    pass\n")

    assert "RuntimeError: broken" in done.stdout
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


# -- the order ---------------------------------------------------------------------------------------------------------

BOOTING = [f"{order.BOOTS[0]}test_boot.py::{number}" for number in range(5)]
WAITING = [f"{order.WAITS[-1]}test_slow.py::{number}" for number in range(7)]
COMPUTING = [f"tests/unit/test_{file}.py::{number}" for file in "xyz" for number in range(4)]
LONG = [f"{order.COMPUTES[0]}test_year.py::{number}" for number in range(2)]


def begun(work: order.Work[str]) -> list[str]:
    """Have everything begun and nothing end; return the kinds."""
    kinds = []
    while unit := work.take():
        kinds.append(unit.kind.value)
    return kinds


def test_everything_is_in_one_unit() -> None:
    """Quick tests by file and not too many, long ones one at a time, and the longest first."""
    many = [f"tests/unit/test_many.py::{number}" for number in range(order.MOST + 1)]
    items = [*COMPUTING, *many, *LONG, *WAITING, *BOOTING]

    found = order.units(items, str)

    assert sorted(item for unit in found for item in unit.items) == sorted(items)
    assert [len(unit.items) for unit in found] == [*[1] * 14, 4, 4, 4, order.MOST, 1]
    assert [unit.kind.value for unit in found] == [*["boot"] * 5, *["wait"] * 7, *["compute"] * 7]


def test_what_shares_something_stays_together() -> None:
    """A gateway that three tests share is made once."""
    found = order.units(WAITING, str, lambda name: "site" if int(name[-1]) % 2 else None)
    assert [tuple(int(name[-1]) for name in unit.items) for unit in found] == [(0,), (1, 3, 5), (2,), (4,), (6,)]


@pytest.mark.parametrize(
    ("processes", "first"),
    [
        (12, ["boot"] * 4 + ["wait"] * 5 + ["compute"] * 3),
        (8, ["boot"] * 2 + ["wait"] * 4 + ["compute"] * 2),
        (4, ["boot", "wait", "wait", "compute"]),
        (2, ["boot", "compute"]),
    ],
)
def test_some_processes_wait_and_the_others_compute(processes: int, first: list[str]) -> None:
    """As long as there is something to compute; then the others do what is left, too."""
    work = order.Work(order.units([*COMPUTING, *WAITING, *BOOTING], str), processes)
    kinds = begun(work)
    assert kinds[:processes] == first
    assert sorted(kinds) == sorted(["boot"] * 5 + ["wait"] * 7 + ["compute"] * 3)


def test_one_that_has_booted_makes_way_for_another() -> None:
    """And what is left of a unit whose process has ended is begun first."""
    work = order.Work(order.units([*COMPUTING, *BOOTING], str), 2)
    boot, quick = work.take(), work.take()
    assert boot is not None
    assert quick is not None
    work.end(boot)
    work.end(quick, quick.items[2:])
    again = work.take()
    assert again is not None
    assert again.kind is order.Demand.BOOT
    assert work.take() == order.Unit(quick.items[2:], order.Demand.COMPUTE, "tests/unit")


def test_a_process_goes_on_in_its_room() -> None:
    """After what takes long; where that is done it takes one without a process, if there is one."""
    names = [f"tests/unit/{room}/test_{file}.py::test" for room in "ab" for file in "xyz"]
    work = order.Work(order.units([*names, *LONG], str), 3)
    taken: list[str] = []

    def go_on(done: order.Unit[str] | None = None) -> order.Unit[str]:
        found = work.take(done)
        assert found is not None
        taken.extend(found.items)
        return found

    first, second, third = go_on(), go_on(), go_on()
    work.end(first)
    fourth = go_on(first)
    work.end(third)
    go_on(third)
    work.end(fourth)
    go_on(fourth)
    go_on(second)
    assert taken == [*LONG, names[0], names[3], names[1], names[4], names[2]]


def test_each_long_one_exists() -> None:
    """Or begins the name of one that does: a file that was renamed would be taken for a quick one."""
    assert [name for name in order.LONG if not list(TESTS.parent.glob(f"{name}*"))] == []
