"""The action `config hand-over`: what root alone may read goes to the agent's user, of the parameters and of the state.

The service does it before each start. So it is apart from the check of the configuration, which reads what changes,
bundles and certificates take, and would cost it half as much again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.core.exit_codes import Exit
from agent.errors import RefusedError
from agent.operations.parameters import Parameters
from agent.store.files.given_back import give_back

if TYPE_CHECKING:
    from agent.cli.writing.output import Output
    from agent.config.values import Config

HANDED_OVER = "{}: its value is handed over to the agent's user."
_GIVEN_BACK = "{}: it belonged to root, and belongs to the agent's user again."


def carry_out(config: Config, output: Output) -> Exit:
    """Hand what root alone may read over to the agent's user: files of values, and what root left among the sets.

    Raises:
        RefusedError: It is not root that asks.
        StoreError: They could not be written.
    """
    if os.geteuid() != 0:
        raise RefusedError("Only root can hand over what root alone may read.", hint="Run it with sudo.")
    handed_over = Parameters(config).hand_over()
    given = give_back(config.state_dir)
    told = {"handed_over": list(handed_over), "exit": Exit.DONE}
    output.tell(told, *map(HANDED_OVER.format, handed_over), *map(_GIVEN_BACK.format, given))
    return Exit.DONE
