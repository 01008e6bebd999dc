"""The whole suite: its surroundings, how much of its campaigns it takes, and the figures before its last line."""

from __future__ import annotations

import gc
import os
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings
from hypothesis.internal import charmap
from hypothesis.internal.conjecture import providers

from support.crashkit import points
from support.suite import campaigns, cpu, parallel, surroundings, warm

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Generator

surroundings.settle()  # here, before anything is started, the other processes of a run included

# The same examples in each run, and no bound on time, since the machine may be busy. Here, since a folder's conftest is
# read before the part of each campaign is known.
UNTIMED = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", UNTIMED)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say which part of each campaign is wanted, and whether its cost is."""
    parser.addoption("--campaign", default="sample", help="sample, sample:NUMBER, whole or case:NUMBER of campaigns")
    parser.addoption("--processes", type=int, default=1, help="run the tests in so many processes")
    parser.addoption("--cpu", action="store_true", help="tell what each file costs, in seconds of a processor")


def pytest_configure(config: pytest.Config) -> None:
    """Choose that part, before any test is collected: some have a parameter for each case."""
    surroundings.keep_the_command_line()
    try:
        campaigns.choose(config.getoption("--campaign"))
    except ValueError as error:
        raise pytest.UsageError(f"--campaign: {error}") from None
    if config.getoption("--cpu"):
        config.pluginmanager.register(cpu.Meter(), cpu.Meter.__name__)
    if (processes := config.getoption("--processes")) > 1:
        gather = partial(_gather, config)
        config.pluginmanager.register(parallel.Processes(processes, _shared, partial(_counted, config), gather))
    settings.register_profile("suite", UNTIMED, max_examples=len(campaigns.places(campaigns.EXAMPLES, 4)))
    settings.load_profile("suite")


@pytest.fixture(autouse=True)
def settings_of_openssl() -> Generator[None, None, None]:
    """Give the machine's settings back to what runs next: a command that a test runs here sets its own."""
    before = os.environ.get("OPENSSL_CONF")
    yield
    if before is None:
        os.environ.pop("OPENSSL_CONF", None)
    else:
        os.environ["OPENSSL_CONF"] = before


def pytest_report_header() -> str:
    """Tell it, since a run of another part may end otherwise."""
    return f"campaigns: {campaigns.chosen()}"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Look for no garbage while a million objects are made that stay, and not among them afterwards."""
    gc.disable()
    try:
        found = yield
        if any(is_hypothesis_test(getattr(item, "obj", None)) for item in session.items):
            _know_what_examples_are_of()
        return found
    finally:
        gc.freeze()
        surroundings.take_huge_pages()
        gc.set_threshold(10_000, 10, 10)  # a test leaves little behind: 14 times as many looks cost 5 % more
        gc.enable()


def _know_what_examples_are_of() -> None:
    """Find the characters, and the constants of the modules that are read by now, before processes are forked.

    Each would find them for its first example: 0.3 s of a processor, and three where the project's folder is new.
    """
    charmap.charmap()
    providers._get_local_constants()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of a sample what is for the whole."""
    left_out = [item for item in items if item.get_closest_marker("whole") and campaigns.chosen().sampled]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _shared(item: pytest.Item) -> str | None:
    """Return the file of a test with a fixture that is made once for a file, such as a gateway with its daemon."""
    known = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    return str(item.path) if any(found.scope == "module" for made in known.values() for found in made) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin with the umask of all tests, whatever one before has left; leave out what only root can do."""
    os.umask(surroundings.UMASK)
    if item.get_closest_marker("root"):
        surroundings.need_root()


def _counted(config: pytest.Config) -> tuple[Counter[str], dict[str, float], float]:
    meter = _meter(config)
    return points.COUNTS, dict(meter.files) if meter else {}, warm.used()


def _gather(config: pytest.Config, counted: tuple[Counter[str], dict[str, float], float]) -> None:
    visited, files, commands = counted
    points.COUNTS.update(visited)
    if meter := _meter(config):
        meter.gather(files, commands)


def _meter(config: pytest.Config) -> cpu.Meter | None:
    return config.pluginmanager.get_plugin(cpu.Meter.__name__)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points each method visited, and the figures that tests have measured."""
    _show_figures(terminalreporter)
    _show_cpu(terminalreporter)
    if points.COUNTS:
        terminalreporter.section("points visited")
        terminalreporter.write_line(f"--campaign={campaigns.chosen()}")
        for method, number in sorted(points.COUNTS.items()):
            terminalreporter.write_line(f"{number:>8} {method}")


def _show_cpu(terminalreporter: pytest.TerminalReporter) -> None:
    if meter := _meter(terminalreporter.config):
        terminalreporter.section("seconds of a processor")
        for line in cpu.table(meter.spent()):
            terminalreporter.write_line(line)


def _show_figures(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    known = [item for report in reports for item in getattr(report, "user_properties", [])]
    figures = [value for name, value in known if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for figure in figures:
            terminalreporter.write_line(f"    {figure}")
