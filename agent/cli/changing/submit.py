"""How a command plans a change itself and has it carried on: by the daemon where one runs, else by itself.

The command plans because it may read files that the daemon may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.carrying import via_daemon
from agent.cli.changing.changes import Changer
from agent.core.exit_codes import Exit
from agent.errors import StoreBusyError
from agent.operations.wiring import open_parts
from agent.system.peers import this_user

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from agent.cli.writing.output import Output
    from agent.config.values import Config
    from agent.operations.execute import Operations
    from agent.operations.wiring import Parts
    from agent.trust.install import Receipt

PATIENCE = 20.0  # seconds for a worker of the daemon's to let go of the store


def carry_out(
    config: Config,
    arguments: argparse.Namespace,
    output: Output,
    begin: Callable[[Parts, Operations], Receipt],
    *,
    create: bool = False,
) -> Exit:
    """Plan a change and have it carried on.

    Args:
        config: The configuration.
        arguments: The command line, with ``no_wait`` and ``wait``.
        output: Where to tell.
        begin: Plans it on an open store, after it has made way for it; returns the change in flight when that is what
            is ordered.
        create: Whether to make the state directory when there is none.

    Raises:
        AgentError: It is refused, or could not be done.
    """
    via_daemon.stay_out(config)
    begun = _plan(config, arguments, output, begin, create=create)
    if begun.change is None:
        output.tell({"event": "bundle", **begun.told.plain(), "exit": Exit.DONE}, begun.told.message)
        return Exit.DONE
    _tell(output, begun)
    code = via_daemon.go_on(config, arguments, output)
    if code is not None:
        return code
    with open_parts(config, output) as parts:
        changer = Changer(config, parts, arguments, output)
        changer.operations.take_up(orderly=True)
        return changer.conclude(changer.operations.go_on())


def _plan(
    config: Config,
    arguments: argparse.Namespace,
    output: Output,
    begin: Callable[[Parts, Operations], Receipt],
    *,
    create: bool,
) -> Receipt:
    """Plan the change as soon as no worker of the daemon's has the store."""
    from agent.system.clock import monotonic, sleep  # noqa: PLC0415 - only here

    end, asked_by = monotonic() + PATIENCE, this_user()
    while True:
        try:
            with open_parts(config, output, create=create, asked_by=asked_by) as parts:
                operations = Changer(config, parts, arguments, output).operations
                operations.take_up()
                return begin(parts, operations)
        except StoreBusyError:
            if monotonic() > end:
                raise
            sleep(0.2)


def _tell(output: Output, begun: Receipt) -> None:
    if output.as_json:
        output.emit({"event": "bundle", **begun.told.plain()})
        return
    for word, anchors in (("added", begun.told.added), ("removed", begun.told.removed)):
        for anchor in anchors or ():
            output.field(word, f"{anchor.name}, until {anchor.not_after:%Y-%m-%d}")
    for warning in begun.told.warnings or ():
        output.field("warning", warning)
