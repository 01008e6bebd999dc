"""What a million gateways ask of the account, against its quotas, and what they cost: `python -m bench.account`.

It prints the tables of docs/fleet-operator.md. What is asked comes from `support.years.fleetload`, which has the
functions of the account decide; quotas and prices are what is known of AWS without asking it, and are looked up before
they count.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from support.years import fleetload
from support.years.fleetload import READS, WRITES, Asked, Load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEVICES, SEED = 1_000_000, 1

# Calls a second that an account may make by default; "Service Quotas" of an account, 2025, and the list of 2019.
QUOTAS = {
    "CreateCertificateFromCsr (MQTT)": 10,
    "RegisterThing (MQTT)": 10,
    "ListPrincipalThings": 10,
    "ListThingPrincipals": 10,
    "ListAttachedPolicies": 10,
    "DescribeCertificate": 10,
    "UpdateCertificate": 10,
    "DeleteCertificate": 10,
    "AttachPolicy": 15,
    "AttachThingPrincipal": 100,
    "DetachThingPrincipal": 100,
    "DescribeThing": 350,
    "CONNECT": 500,
}
CONNECTIONS = 500_000

# List prices in USD of us-east-1.
MILLION = 1e6
A_MESSAGE, A_RULE, A_CALL = 1.00 / MILLION, 0.30 / MILLION, 0.20 / MILLION
A_GIGABYTE_SECOND, A_WRITE, A_READ = 0.0000133, 0.625 / MILLION, 0.125 / MILLION
A_MINUTE_CONNECTED, A_SHADOW_WRITE, AN_INDEX_WRITE = 0.08 / MILLION, 1.25 / MILLION, 2.25 / MILLION
A_JOB, AN_AUDIT, AN_ALARM = 0.003, 0.0011, 0.10
MESSAGES = 40  # of a rotation and its retirement
MINUTES, DAYS, HOURS, MONTHS = 525_600, 365, 8_760, 12
HOOK, RETIREMENT, LOOK = 1.0 * 0.2, 0.25 * 0.4, 0.25 * 0.5  # gigabyte-seconds: memory by time; a look has its pace
ALARMS, PAGE, PAGES_A_SECOND = 30, 250, 10


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What something costs a year.

    Attributes:
        what: What it is.
        dollars: USD.
    """

    what: str
    dollars: float


def costs(gateways: int, asked: Asked) -> list[Cost]:
    """Return what a fleet costs in a year in which each gateway rotates once."""
    every = asked.all
    indexed = 2  # the row that waits for its deletion is in an index, too, and leaves it again
    writes = sum(every[name] for name in WRITES) + indexed
    reads = sum(every[name] for name in READS)
    functions = 2 * A_CALL + (HOOK + RETIREMENT + 2 * LOOK) * A_GIGABYTE_SECOND
    counted = HOURS * 2 * gateways / PAGE / PAGES_A_SECOND * 0.25 * A_GIGABYTE_SECOND  # a replaced one each, at most
    return [
        Cost(what="a rotation each: messages", dollars=gateways * MESSAGES * A_MESSAGE),
        Cost(
            what="its rule, functions and tables",
            dollars=gateways * (A_RULE + functions + writes * A_WRITE + reads * A_READ),
        ),
        Cost(what="the count of certificates, and the alarms", dollars=counted + ALARMS * AN_ALARM * MONTHS),
        Cost(what="the rotation ordered by a job", dollars=gateways * A_JOB),
        Cost(what="the shadow, written twice a day", dollars=gateways * 2 * DAYS * A_SHADOW_WRITE),
        Cost(what="its index", dollars=gateways * 2 * DAYS * AN_INDEX_WRITE),
        Cost(what="Device Defender's audit", dollars=gateways * MONTHS * AN_AUDIT),
        Cost(what="**the agent's own permanent session**", dollars=gateways * MINUTES * A_MINUTE_CONNECTED),
    ]


def fixed(gateways: int, asked: Asked) -> Iterator[tuple[str, ...]]:
    """Yield what no simulation is needed for: each API, its quota, what a certificate's life asks, and the mean."""
    seconds = 30 * 24 * 3600
    for name, quota in QUOTAS.items():
        yield name, f"{quota}", f"{asked.all[name]}", f"{gateways * asked.all[name] / seconds:.1f}"


def table(load: Load) -> list[str]:
    """Return the table of what is asked, as Markdown."""
    head = (
        "call",
        "quota",
        "a life",
        "mean",
        "window: minute",
        "second",
        "outage: minute",
        "second",
        "order: minute",
        "second",
    )
    rows = []
    for name, quota, life, mean in fixed(load.gateways, load.asked):
        cells = []
        for busiest in (load.window, load.outage, load.order):
            cells += [_rate(busiest.minute[name], int(quota)), _rate(busiest.second[name], int(quota))]
        if name == "CONNECT":
            cells[2:4] = [f"{load.again}", f"**{load.first:,}**" if load.first > int(quota) else f"{load.first}"]
        rows.append((name, quota, life, mean, *cells))
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _rate(found: float, quota: int) -> str:
    text = f"{found:.0f}" if found == round(found) else f"{found:.1f}"
    return f"**{text}**" if found > quota else text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cost_table(gateways: int, asked: Asked) -> list[str]:
    """Return the table of what it costs, as Markdown."""
    found = costs(gateways, asked)
    return [_row(("for a year", "USD")), _row(("---", "---")), *(_row((it.what, f"{it.dollars:,.0f}")) for it in found)]


def main(words: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.account")
    parser.add_argument("--gateways", type=int, default=DEVICES, metavar="NUMBER", help="another fleet")
    given = parser.parse_args(words)
    found = fleetload.load(given.gateways, SEED)
    lines = [*table(found), "", *cost_table(given.gateways, found.asked), ""]
    lines.append(f"Back after the outage: {found.back / 60:.0f} minutes. Connections at once: {2 * given.gateways:,}.")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
