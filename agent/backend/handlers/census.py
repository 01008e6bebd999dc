"""Each hour, between two rounds of the sweep: how many certificates the account has, by state and by age.

The registry is asked, and not the table: the row of a certificate that was never seen in use goes after a month.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agent.backend.decide.census import COUNTED, counts_as

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.backend.handlers.account import Account


def census(account: Account, may_go_on: Callable[[], bool]) -> None:
    """Count the account's certificates. A count that does not come to its end is not told, since it would be wrong.

    Args:
        account: The account.
        may_go_on: Whether there is time for another certificate.

    Raises:
        BackendError: AWS did not answer.
    """
    now = account.now()
    found = Counter(dict.fromkeys(COUNTED, 0))
    for certificate in account.registry.everything():
        if not may_go_on():
            return
        found.update(counts_as(certificate, now))
    for metric, count in found.items():
        account.outbox.count(metric, value=count)
