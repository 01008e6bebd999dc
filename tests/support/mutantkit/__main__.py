"""Tries all mutants, or those that are named, and reports which tests let one live."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from support.mutantkit.copies import Copy, Mutant, MutantFate, NotThereError
from support.mutantkit.table import MUTANTS


def main() -> int:
    """Report a line for each mutant; return 1 unless all were killed."""
    parser = argparse.ArgumentParser(prog="python -m support.mutantkit", description=__doc__)
    parser.add_argument("names", nargs="*", help="which; all of the table when none is named")
    names = parser.parse_args().names
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"there is no mutant {', '.join(sorted(unknown))}")
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    with Copy() as copy:
        code, last = copy.run(sorted({test for mutant in chosen for test in mutant.killers}))
        if code != 0:
            sys.exit(f"The tests fail without any mutant, so they would prove nothing: {last}")
        fates = Counter(_report(copy, mutant) for mutant in chosen)
    print(", ".join(f"{count} {fate}" for fate, count in sorted(fates.items())))
    return int(set(fates) != {MutantFate.KILLED})


def _report(copy: Copy, mutant: Mutant) -> MutantFate:
    began = time.monotonic()
    try:
        fate, said = copy.try_out(mutant)
    except NotThereError as error:
        fate, said = MutantFate.UNFIT, str(error)
    detail = "" if fate is MutantFate.KILLED else f"  {mutant.breaks} {said}"
    print(f"{fate:<9}{mutant.name:<35}{time.monotonic() - began:5.1f} s{detail}", flush=True)
    return fate


if __name__ == "__main__":
    sys.exit(main())
