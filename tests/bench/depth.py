"""How far one rotation goes through the code: files, functions, calls, and the deepest stack of the agent's own frames.

The real worker, the real SDK and a local cloud; `sys.setprofile` counts in the worker's main thread. What modules do
while they are imported is left out. `python -m bench.depth` prints the table, `--stack` the deepest stack as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agent.core.values import Kind, Origin
from agent.core.worker_protocol import Do, Order, encode_order
from bench.installed import ROOT
from support.running.gateway import Gateway

if TYPE_CHECKING:
    from types import FrameType

AGENT = str(ROOT / "agent") + "/"
PROBATION = 2  # seconds; longer than a worker waits by itself

_READ_WHOLE = ("store/sets/generations.py", "read")  # the one function that hashes and parses a whole generation


@dataclass
class Walk:
    """One process's way through the code.

    Attributes:
        files: The files of the agent that were entered.
        functions: How many of its functions.
        calls: How often one of them was called.
        switches: How often the call came from another file of the agent.
        deepest: The deepest stack of its frames, the outermost first.
        read_whole: How often a generation was read, hashed and parsed.
    """

    files: int = 0
    functions: int = 0
    calls: int = 0
    switches: int = 0
    deepest: list[str] = field(default_factory=list)
    read_whole: int = 0


class Tracer:
    """Counts the calls of the thread that it is set in."""

    def __init__(self) -> None:
        self._stack: list[tuple[str, str]] = []
        self._deepest: list[tuple[str, str]] = []
        self._calls: Counter[tuple[str, str]] = Counter()
        self._switches = 0
        self._importing = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Take note of a call or a return; what `sys.setprofile` is given."""
        code = frame.f_code
        if not code.co_filename.startswith(AGENT):
            return
        if code.co_name == "<module>":
            self._importing += {"call": 1, "return": -1}.get(event, 0)
        elif not self._importing:
            self._note(event, (code.co_filename.removeprefix(AGENT), code.co_qualname))

    def _note(self, event: str, place: tuple[str, str]) -> None:
        if event == "call":
            self._switches += bool(self._stack) and self._stack[-1][0] != place[0]
            self._calls[place] += 1
            self._stack.append(place)
            if len(self._stack) > len(self._deepest):
                self._deepest = list(self._stack)
        elif event == "return" and self._stack:
            self._stack.pop()

    def walk(self) -> Walk:
        """Return what was counted."""
        return Walk(
            files=len({file for file, _ in self._calls}),
            functions=len(self._calls),
            calls=self._calls.total(),
            switches=self._switches,
            deepest=[f"{file}:{name}" for file, name in self._deepest],
            read_whole=self._calls[_READ_WHOLE],
        )


def trace(configuration: str, result: str) -> None:
    """Be the worker, with the order on standard input, and write what was counted to a file."""
    from agent.worker import main  # noqa: PLC0415 - before the tracer, as an interpreter does with its first module

    tracer = Tracer()
    sys.argv = ["worker", "--config", configuration]
    sys.setprofile(tracer)
    try:
        main.main()
    finally:
        sys.setprofile(None)
        Path(result).write_text(json.dumps(asdict(tracer.walk())), encoding="utf-8")


def measure() -> dict[str, Walk]:
    """Rotate once and return the way of each of the two workers."""
    with tempfile.TemporaryDirectory(prefix="iot-cert-bench-") as folder:
        settings = {"probation: 1s": f"probation: {PROBATION}s"}
        with Gateway(Path(folder), settings=settings) as gateway:
            gateway.enroll()
            begin = Order(do=Do.BEGIN, kind=Kind.ROTATE, origin=Origin.SCHEDULE, reason="a measurement")
            found = {"begin to probation": _follow(gateway, begin)}
            time.sleep(PROBATION)
            return found | {"end of probation": _follow(gateway, Order(do=Do.GO_ON, orderly=True))}


def _follow(gateway: Gateway, order: Order) -> Walk:
    result = gateway.directory / "walk.json"
    call = f"from bench import depth; depth.trace({str(gateway.config)!r}, {str(result)!r})"
    subprocess.run(
        [sys.executable, "-c", call], input=encode_order(order), cwd=ROOT / "tests", check=True, timeout=60,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return Walk(**json.loads(result.read_text(encoding="utf-8")))


def main() -> None:
    """Print the table."""
    print("| worker | files | functions | calls | switches of file | deepest stack | generations read whole |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, walk in measure().items():
        counts = (walk.files, walk.functions, walk.calls, walk.switches, len(walk.deepest), walk.read_whole)
        print(f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |")
        if "--stack" in sys.argv:
            print("\n".join(f"  {depth:3} {place}" for depth, place in enumerate(walk.deepest, 1)))


if __name__ == "__main__":
    main()
