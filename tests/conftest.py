"""The whole suite: its surroundings, how much of its campaigns it takes, and the figures before its last line."""

from __future__ import annotations

import gc
import os
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from support import campaigns, cpu, order, surroundings
from support.crashkit import points

if TYPE_CHECKING:
    from collections.abc import Generator

surroundings.settle()  # here, before anything is started, the other processes of a run included

# The same examples in each run, and no bound on time, since the machine may be busy. Here, since a folder's conftest is
# read before the part of each campaign is known.
UNTIMED = settings(derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", UNTIMED)
settings.load_profile("suite")

_GATHERED: Counter[str] = Counter()
_SPENT: defaultdict[str, float] = defaultdict(float)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say which part of each campaign is wanted, and whether its cost is."""
    parser.addoption("--campaign", default="sample", help="sample, sample:NUMBER, whole or case:NUMBER of campaigns")
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
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while a million objects are made that stay, and not among them afterwards."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        surroundings.take_huge_pages()
        gc.set_threshold(10_000, 10, 10)  # a test leaves little behind: 14 times as many looks cost 5 % more
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of a sample what is for the whole, and have several processes begin with the tests that take long."""
    left_out = [item for item in items if item.get_closest_marker("whole") and campaigns.chosen().sampled]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        items[:] = order.dealt(items, processes, lambda item: item.nodeid, _shared)


def _shared(item: pytest.Item) -> str | None:
    """Return the file of a test with a fixture that is made once for a file, such as a gateway with its daemon."""
    known = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    return str(item.path) if any(found.scope == "module" for made in known.values() for found in made) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin with the umask of all tests, whatever one before has left; leave out what only root can do."""
    os.umask(surroundings.UMASK)
    if item.get_closest_marker("root"):
        surroundings.need_root()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand this process's counts to the one that prints."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["points"] = dict(points.COUNTS)
        output["cpu"] = _spent(session.config)


def _spent(config: pytest.Config) -> dict[str, float]:
    meter: cpu.Meter | None = config.pluginmanager.get_plugin(cpu.Meter.__name__)
    return meter.spent() if meter else {}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take the counts of a process that has ended."""
    del error
    output = getattr(node, "workeroutput", {})
    _GATHERED.update(output.get("points", {}))
    for file, seconds in output.get("cpu", {}).items():
        _SPENT[file] += seconds


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points each method visited, and the figures that tests have measured."""
    _show_figures(terminalreporter)
    _show_cpu(terminalreporter)
    counts = _GATHERED + points.COUNTS
    if counts:
        terminalreporter.section("points visited")
        terminalreporter.write_line(f"--campaign={campaigns.chosen()}")
        for method, number in sorted(counts.items()):
            terminalreporter.write_line(f"{number:>8} {method}")


def _show_cpu(terminalreporter: pytest.TerminalReporter) -> None:
    spent = _SPENT or _spent(terminalreporter.config)
    if spent:
        terminalreporter.section("seconds of a processor")
        for line in cpu.table(spent):
            terminalreporter.write_line(line)


def _show_figures(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    known = [item for report in reports for item in getattr(report, "user_properties", [])]
    figures = [value for name, value in known if name == "figure"]
    if figures:
        terminalreporter.section("figures")
        for figure in figures:
            terminalreporter.write_line(f"    {figure}")
