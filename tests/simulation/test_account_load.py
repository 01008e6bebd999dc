"""What a large fleet asks of the account: the page has what the command prints, and it is what can be borne."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.backend.handlers import sweep
from bench import account
from bench.account import DEVICES, QUOTAS
from support.years import fleetload
from support.years.fleetload import IOT, READS, REGISTERS, ROUND, WRITES, Load

PAGE = (Path(__file__).parents[2] / "docs" / "fleet-operator.md").read_text().splitlines()


def cells(line: str) -> list[str]:
    """Return what stands in a row of a table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture(scope="module", name="small")
def _small() -> Load:
    return fleetload.load(20_000, 1)


def test_the_page_says_what_the_command_prints(small: Load) -> None:
    """Each row and column of it; and of the million the figures that need no simulation."""
    printed = account.table(small)
    head = PAGE.index(printed[0])
    rows = {cells(line)[0]: cells(line) for line in PAGE[head + 2 : head + len(printed)]}
    assert list(rows) == [cells(line)[0] for line in printed[2:]]
    for row in account.fixed(DEVICES, fleetload.asked()):
        assert rows[row[0]][: len(row)] == list(row)
    costs = account.cost_table(DEVICES, small.asked)
    start = PAGE.index(costs[0])
    assert PAGE[start : start + len(costs)] == costs


@pytest.mark.whole
def test_the_page_has_the_figures_of_a_million(capsys: pytest.CaptureFixture[str]) -> None:
    """As the command prints them."""
    account.main([])
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line for line in printed if line not in PAGE] == []


def test_everything_that_the_functions_ask_is_in_the_table_or_in_the_cost(small: Load) -> None:
    """A verb that is new to a function is missed here."""
    free = {"answer", "count", "due"}  # messages and metrics are counted apart; a round asks once what is due
    assert set(small.asked.all) == {*QUOTAS, *READS, *WRITES, *free} - {"save_device"}
    assert set(QUOTAS) == (set(IOT.values()) & set(small.asked.all)) | set(REGISTERS)


def test_the_more_gateways_the_more_is_asked(small: Load) -> None:
    """By as much as there are more, and at the sweep's own pace whatever the fleet is."""
    smaller = fleetload.load(5_000, 1)
    for name in QUOTAS:
        assert smaller.window.minute[name] <= small.window.minute[name]
        assert smaller.order.minute[name] <= small.order.minute[name] <= 4 * smaller.order.minute[name] + 1
    looks = 1 / sweep.EACH.total_seconds()
    assert small.window.minute["DeleteCertificate"] == smaller.window.minute["DeleteCertificate"] == looks / 2


def test_the_sweep_keeps_up_with_a_million_in_a_window_of_thirty_days() -> None:
    """Two looks at each certificate, and two rounds an hour."""
    assert 2 * ROUND / sweep.EACH > 2 * DEVICES / (30 * 24)
