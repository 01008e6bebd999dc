"""What a million gateways ask of the account at once, simulated from the agent's own parts.

The simulation is `fleetpeaks.peaks`; added here are the busiest hour, since the fleet's mean is less than one rotation
a second, and the same fleet with turns that are drawn by lot. `python -m bench.million` prints it as JSON.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent.core.when.renewal import RenewalPolicy, splay
from bench import child
from bench.place import BenchError

if TYPE_CHECKING:
    from bench.rows import Results

DEVICES, SEED = 1_000_000, 1
NAMES = ("even", "turns", "due", "connects", "again", "requests", "refused", "back")
PATIENCE = 600.0  # seconds

# What AWS IoT Core takes from an account in a second by default: CONNECT, and RegisterThing as of 2019 ("AWS IoT Core
# endpoints and quotas"). The latter can be raised.
CONNECTS, REGISTRATIONS = 500, 10

_HOUR = 3600


def measure(results: Results) -> None:
    """Have the fleet simulated, where there is a simulation.

    Raises:
        BenchError: There is none, or it says something else.
    """
    found = child.ask("bench.million", PATIENCE)
    missing = [name for name in NAMES if name not in found]
    if missing:
        raise BenchError(f"not available: {found.get('why') or 'fleetpeaks.peaks() has no ' + ', '.join(missing)}")
    results.put("fleet.hour", [found["hour"]], [found["even"]], "the floor is an even spread")
    note = "the floor is the same fleet with the times drawn by lot: no gateway knows of the others"
    results.put("fleet.second", [found["turns"]], [found["by_lot"]], note)
    note = f"the floor is the account's quota; {found['connects']} came at first, and what is above it is told to wait"
    note += f"; the last is back after {found['back'] / 60:.0f} min"
    results.put("fleet.connects", [found["again"]], [CONNECTS], note)
    note = f"of the {found['due']} that were due meanwhile; the floor is the quota of RegisterThing"
    results.put("fleet.requests", [found["requests"]], [REGISTRATIONS], note)
    results.put("fleet.refused", [found["refused"]], [REGISTRATIONS])


def busiest(length: float) -> dict[str, float]:
    """Return the busiest hour of a window, as a rate, and the busiest second of one that is drawn by lot."""
    hours = Counter(int(length * splay(f"gw-{number}", f"{SEED}-{number}")) // _HOUR for number in range(DEVICES))
    chance = random.Random(SEED)  # noqa: S311 - the same figures in each run
    seconds = Counter(int(length * chance.random()) for _ in range(DEVICES))
    return {"hour": max(hours.values()) / _HOUR, "by_lot": max(seconds.values())}


def main() -> None:
    """Print what the simulation says, or why there is none."""
    try:
        fleetpeaks = importlib.import_module("support.years.fleetpeaks")
    except ModuleNotFoundError:
        json.dump({"why": "tests/support/years/fleetpeaks.py is missing"}, sys.stdout)
        return
    peaks: Any = fleetpeaks.peaks(DEVICES, SEED)
    json.dump({**asdict(peaks), **busiest(RenewalPolicy().window.total_seconds())}, sys.stdout, default=str)


if __name__ == "__main__":
    main()
