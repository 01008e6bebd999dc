"""One rotation in time, drawn from the record of a real one against the sandbox."""

from __future__ import annotations

from agent.core.change.lifecycle import Phase
from pictures.recording import recorded
from pictures.svg import Picture

LEFT, BREAK, PROBATION, RIGHT = 130, 450, 480, 560  # pixels
TOP, STEP = 84, 34

# What is done until a phase is entered.
TOLD = {
    Phase.KEY_READY: "a key is made",
    Phase.REQUESTED: "written down, then asked for",
    Phase.ISSUED: "the cloud issues a certificate",
    Phase.REGISTERED: "the cloud registers it for this gateway",
    Phase.PREPARED: "written to disk, and synced",
    Phase.PROVEN: "connects, and a request is answered",
    Phase.ACTIVE: "one rename",
    Phase.DEPLOYED: "programs are served",
    Phase.COMMITTED: "probation: proven again, then final",
}


def draw() -> str:
    """Return the picture."""
    steps = [(Phase(phase), float(at)) for phase, at in recorded()["rotation"]]
    at = dict(steps)
    picture = Picture(
        960,
        "A rotation in time",
        f"The steps of one rotation against the local cloud: a new set is in use after {at[Phase.ACTIVE]:.1f} seconds "
        f"and final after {at[Phase.COMMITTED]:.0f}, and the gateway has a set in use at every instant.",
    )
    foot = TOP + STEP * len(steps)
    swap = _x(at[Phase.ACTIVE], at)
    _in_use(picture, swap, foot)
    before = 0.0
    for number, (phase, entered) in enumerate(steps):
        with picture.group(phase=phase):
            _row(picture, TOP + STEP * number, phase, (_x(before, at), _x(entered, at)), entered)
        before = entered
    _axis(picture, foot, at)
    return picture.svg(foot + 52)


def _x(seconds: float, at: dict[Phase, float]) -> float:
    """Return where an instant is drawn: up to probation to one scale, and probation to another."""
    served, end = at[Phase.DEPLOYED], at[Phase.COMMITTED]
    if seconds <= served:
        return LEFT + (BREAK - LEFT) * seconds / served
    return PROBATION + (RIGHT - PROBATION) * (seconds - served) / (end - served)


def _in_use(picture: Picture, swap: float, foot: float) -> None:
    picture.text(24, 40, "in use", "small quiet")
    picture.box(LEFT, 24, swap - LEFT, 24)
    picture.text((LEFT + swap) / 2, 41, "generation 1", "small", "middle")
    picture.box(swap, 24, RIGHT - swap, 24, "good")
    picture.text((swap + RIGHT) / 2, 41, "generation 2", "small good", "middle")
    picture.text(RIGHT + 24, 41, "a set is in use at every instant", "small quiet")
    picture.line((swap, 48), (swap, foot), kind="good")


def _row(picture: Picture, y: float, phase: Phase, bar: tuple[float, float], entered: float) -> None:
    start, end = bar
    kind = "good" if phase.activated else "main"
    picture.text(24, y + 15, phase, "bold")
    picture.raw(
        f'<rect class="bar {kind}" x="{start:.1f}" y="{y + 3}" width="{max(end - start, 3):.1f}" height="16" rx="2"/>'
    )
    picture.text(RIGHT + 24, y + 15, f"{entered:5.2f} s", "mono quiet")
    picture.text(RIGHT + 94, y + 15, TOLD[phase], "small")


def _axis(picture: Picture, foot: float, at: dict[Phase, float]) -> None:
    y = foot + 8
    picture.line((LEFT, y), (BREAK, y))
    picture.line((PROBATION, y), (RIGHT, y))
    for end in (BREAK, PROBATION):
        picture.line((end - 4, y + 6), (end + 4, y - 6))
    for seconds in (0.0, 0.5, 1.0):
        x = _x(seconds, at)
        picture.line((x, y), (x, y + 5))
        picture.text(x, y + 22, f"{seconds:g} s", "small quiet", "middle")
    picture.text((PROBATION + RIGHT) / 2, y + 22, "probation", "small quiet", "middle")
