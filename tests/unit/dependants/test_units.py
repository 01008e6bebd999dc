"""Units: what systemd is told, when nothing is done, and what counts as having taken a set up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.core.dependants import Signal, Unit, UnitAction, Verification
from agent.dependants import units
from agent.dependants.units import Systemd
from agent.errors import RefusedError
from support.unit.dependants.systemctl import GIVEN, NAME, unit, verifying

if TYPE_CHECKING:
    from support.running.systemd import Systemctl

pytestmark = pytest.mark.usefixtures("time")  # nothing is waited for between two looks


# -- what systemd is told ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "verb"),
    [(UnitAction.RELOAD, "reload"), (UnitAction.RESTART, "try-restart"), (UnitAction.EITHER, "try-reload-or-restart")],
)
def test_a_unit_that_runs_is_told_what_is_configured(systemctl: Systemctl, action: UnitAction, verb: str) -> None:
    """With exactly this command line: no user is asked for a password, and no name is taken for an option."""
    systemctl.has(NAME)

    assert systemctl.systemd.serve(unit(action), GIVEN) == ""
    assert [call for call in systemctl.calls if "show" not in call] == [
        ["--no-ask-password", "--quiet", verb, "--", NAME]
    ]


def test_a_unit_is_looked_at_before_and_after(systemctl: Systemctl) -> None:
    """With exactly this command line."""
    systemctl.has(NAME)
    systemctl.systemd.serve(unit(), GIVEN)
    first, _, second = systemctl.calls

    assert first == second
    assert first[:2] == ["show", "--no-pager"]
    assert first[-2:] == ["--", NAME]
    assert len(first) == 5
    properties = first[2].removeprefix("--property=").split(",")
    assert {"LoadState", "ActiveState", "MainPID", "InvocationID", "NRestarts"} <= set(properties)


def test_systemctl_is_found_by_its_place_and_told_nothing_else(
    systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not looked for, and what this process was told does not steer it."""
    assert units.SYSTEMCTL == "/usr/bin/systemctl"
    monkeypatch.setenv("SYSTEMD_LOG_LEVEL", "debug")
    systemctl.has(NAME)
    systemctl.systemd.serve(unit(), GIVEN)
    assert systemctl.told == {"PATH", "LANG"}


@pytest.mark.parametrize("action", list(UnitAction))
@pytest.mark.parametrize(
    "state",
    [
        {"ActiveState": "failed"},
        {"ActiveState": "inactive", "ConditionResult": "no"},
    ],
    ids=["failed", "held back"],
)
def test_a_unit_that_would_run_if_it_could_is_started(
    systemctl: Systemctl, action: UnitAction, state: dict[str, str]
) -> None:
    """One that failed, and one that a condition kept from starting, as for a missing certificate."""
    systemctl.has(NAME, **state, MainPID="0")

    assert systemctl.systemd.serve(unit(action), GIVEN) == ""
    assert systemctl.orders == [("restart", NAME)]
    assert systemctl.now(NAME)["ActiveState"] == "active"


def test_a_unit_that_is_starting_is_not_started_by_other_means(systemctl: Systemctl) -> None:
    """It is told as one that runs: `restart` would start one that an operator stops in that moment."""
    systemctl.has(NAME, ActiveState="activating", later="ActiveState:active")
    systemctl.systemd.serve(unit(UnitAction.RESTART), GIVEN)
    assert systemctl.orders == [("try-restart", NAME)]


# -- when nothing is done ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", list(UnitAction))
@pytest.mark.parametrize(
    "state",
    [
        {"ActiveState": "inactive"},
        {"ActiveState": "deactivating"},
        {"ActiveState": "inactive", "ConditionResult": "no", "ConditionTimestampMonotonic": "0"},
    ],
    ids=["stopped", "stopping", "never tried"],
)
def test_a_unit_that_does_not_run_is_left_alone(
    systemctl: Systemctl, action: UnitAction, state: dict[str, str]
) -> None:
    """The operator who starts it has it read the new files. That nothing was tried yet is no condition that failed."""
    systemctl.has(NAME, **state, MainPID="0")

    assert systemctl.systemd.serve(unit(action, verify=Verification(tls="127.0.0.1:1")), GIVEN) == ""
    assert systemctl.orders == []


@pytest.mark.parametrize("loaded", ["not-found", "masked", "bad-setting", "error"])
def test_a_unit_that_is_none_is_refused(systemctl: Systemctl, loaded: str) -> None:
    """A name misspelt must not look like success, and no change waits for what systemd says at once."""
    if loaded != "not-found":
        systemctl.has(NAME, LoadState=loaded)

    way = f"`sudo systemctl unmask {NAME}`, or see" if loaded == "masked" else "see"
    assert refused(systemctl.systemd, unit()) == f"{NAME} is {loaded}: {way} the name under `dependants:`."
    assert systemctl.orders == []


def test_a_unit_that_cannot_be_reloaded_is_not(systemctl: Systemctl) -> None:
    """The sentence has what to configure; one that has failed is started all the same."""
    systemctl.has(NAME, CanReload="no")
    said = refused(systemctl.systemd, unit(UnitAction.RELOAD))
    assert said == f"{NAME} cannot be reloaded: set `action: reload-or-restart` for it."
    assert systemctl.orders == []

    systemctl.has(NAME, ActiveState="failed")
    assert systemctl.systemd.serve(unit(UnitAction.RELOAD), GIVEN) == ""
    assert systemctl.orders == [("restart", NAME)]


# -- when it does not work ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "word"),
    [(UnitAction.RELOAD, "reload"), (UnitAction.RESTART, "restart"), (UnitAction.EITHER, "reload-or-restart")],
)
def test_an_order_that_fails_is_a_problem(systemctl: Systemctl, action: UnitAction, word: str) -> None:
    """It says what to look at."""
    systemctl.has(NAME, exit="4")

    said = systemctl.systemd.serve(unit(action), GIVEN)
    assert said == f"{NAME} does not {word}: it ended with exit code 4. `systemctl status {NAME}`."


def test_an_order_that_hangs_is_ended(systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the unit's own time."""
    monkeypatch.setattr("agent.system.processes.programs.GRACE", 0.2)
    systemctl.has(NAME, hang="yes")
    said = systemctl.systemd.serve(unit(timeout=timedelta(seconds=1)), GIVEN)

    assert said.startswith(f"{NAME} does not reload-or-restart: it took longer than 1 s and was ended.")


def refused(systemd: Systemd, wanted: Unit) -> str:
    """Have a unit served in vain, and return what only a person can change."""
    with pytest.raises(RefusedError) as caught:
        systemd.serve(wanted, GIVEN)
    return str(caught.value)


@pytest.mark.parametrize("how", ["missing", "not executable"])
def test_a_machine_without_systemd_is_told(systemctl: Systemctl, tmp_path: Path, how: str) -> None:
    """Nothing brings it up by itself."""
    systemctl.has(NAME)
    command = tmp_path / ("gone" if how == "missing" else "systemctl.d/systemctl")
    if how != "missing":
        command.chmod(0o644)
    told = f"{NAME}: there is no {command} here, so nothing was done to it."
    assert refused(Systemd(str(command)), unit()) == told


def test_a_machine_on_which_systemd_does_not_run_is_told(systemctl: Systemctl, tmp_path: Path) -> None:
    """A container may have its command alone, which then says nothing; where it answers, it is believed."""
    systemctl.has(NAME)
    elsewhere = Systemd(systemctl.path, f"{tmp_path}/run/systemd/system")
    assert elsewhere.serve(unit(), GIVEN) == ""
    systemctl.be("broken")
    assert "systemd does not run here" in refused(elsewhere, unit())
    assert units.BOOTED == "/run/systemd/system"


@pytest.mark.parametrize("how", ["broken", "mute"])
def test_when_systemd_does_not_answer_nothing_is_done(
    systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """And no caller waits for it for ever."""
    monkeypatch.setattr(units, "QUERY", 0.3)
    systemctl.has(NAME)
    systemd = systemctl.systemd
    systemctl.be(how)

    assert systemd.serve(unit(), GIVEN) == f"{NAME}: systemd does not answer, so nothing was done to it."
    assert systemd.state(NAME) is None
    assert systemctl.orders == []


def test_when_systemd_falls_silent_that_is_told(systemctl: Systemctl, tmp_path: Path) -> None:
    """It was done, and what came of it is unknown."""
    systemctl.has(NAME, run=f"touch {tmp_path}/systemctl.d/broken")

    assert systemctl.systemd.serve(unit(), GIVEN) == f"{NAME}: systemd does not answer, so its state is unknown."
    assert len(systemctl.orders) == 1


def test_what_systemd_says_besides_is_passed_over(systemctl: Systemctl) -> None:
    """Lines without a value, and values with an equals sign."""
    systemctl.has(NAME, InvocationID="a=b=c")
    state = systemctl.systemd.state(NAME)

    assert state is not None
    assert (state.invocation, state.active, state.reloads, state.held_back) == ("a=b=c", "active", True, False)


# -- whether it stays up -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("look", [0, 1, 2])
@pytest.mark.parametrize("state", ["failed", "inactive", "activating", "deactivating"])
def test_a_unit_that_dies_after_is_a_problem(systemctl: Systemctl, look: int, state: str) -> None:
    """At once or while it is watched; systemd may be about to start it again."""
    systemctl.has(NAME, later=";" * look + f"ActiveState:{state}")
    said = systemctl.systemd.serve(unit(UnitAction.RELOAD, healthy=20), GIVEN)
    assert said == f"{NAME} is {state} after its reload."


@pytest.mark.parametrize("what", ["NRestarts:1", "MainPID:977", "NRestarts:1,MainPID:977"])
def test_a_unit_that_is_started_again_meanwhile_is_a_problem(systemctl: Systemctl, what: str) -> None:
    """It died of the new set, and systemd has brought it up again, as often as it may."""
    systemctl.has(NAME, later=f";{what}")
    said = systemctl.systemd.serve(unit(UnitAction.RESTART, healthy=20), GIVEN)
    assert said == f"{NAME} died and was started again after its restart."


@pytest.mark.parametrize(("seconds", "said"), [(30, ""), (31, f"{NAME} is failed after its reload-or-restart.")])
def test_a_unit_is_watched_for_its_time(systemctl: Systemctl, seconds: float, said: str) -> None:
    """What happens after that is not its reload's; what happens before is."""
    systemctl.has(NAME, later=";" * 4 + "ActiveState:failed")
    assert systemctl.systemd.serve(unit(healthy=seconds), GIVEN) == said


@pytest.mark.parametrize("state", ["reloading", "refreshing"])
def test_a_unit_that_still_reloads_is_up(systemctl: Systemctl, state: str) -> None:
    """Before, so that it is told like any other, and after."""
    systemctl.has(NAME, ActiveState=state)
    assert systemctl.systemd.serve(unit(UnitAction.RELOAD, healthy=10), GIVEN) == ""
    assert systemctl.orders == [("reload", NAME)]


# -- whether it was started anew ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "new_process", "stale", "enough"),
    [
        (UnitAction.RESTART, False, False, True),
        (UnitAction.RESTART, False, True, False),
        (UnitAction.RELOAD, False, False, True),
        (UnitAction.RELOAD, True, False, False),
        (UnitAction.EITHER, True, False, False),
        (UnitAction.EITHER, False, False, True),
    ],
)
def test_a_process_from_before_is_a_problem_where_a_new_one_is_needed(
    systemctl: Systemctl, action: UnitAction, *, new_process: bool, stale: bool, enough: bool
) -> None:
    """After each restart, and after a reload if it is configured so."""
    systemctl.has(NAME, **({"stale": "yes"} if stale else {}))
    said = systemctl.systemd.serve(unit(action, verify=Verification(new_process=new_process)), GIVEN)
    assert said == ("" if enough else f"{NAME} still runs the process from before.")


def test_a_unit_that_can_only_be_restarted_is_a_new_process(systemctl: Systemctl) -> None:
    """`reload-or-restart` did the one or the other, and which is seen."""
    systemctl.has(NAME, CanReload="no")
    assert systemctl.systemd.serve(verifying(new_process=True), GIVEN) == ""


# -- what is told before they are asked --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "mode", "directory", "interpreter", "good", "none"])
def test_a_command_that_cannot_confirm_anything_is_told(tmp_path: Path, how: str) -> None:
    """Of units and signals alike; where a user may not look, nothing is."""
    command = tmp_path / "verify"
    if how == "directory":
        command.mkdir()
    elif how != "missing":
        command.write_text("#!/usr/bin/gone\n" if how == "interpreter" else "#!/bin/sh\n")
        command.chmod(0o644 if how == "mode" else 0o755)
    verify = Verification(command=() if how == "none" else (str(command),))
    signal = Signal(process="app", pid_file=Path("/run/app.pid"), verify=verify)
    for item in (Unit(name="app.service", verify=verify), signal):
        told = list(units.unconfirmed([item]))
        assert len(told) == (how not in {"good", "none"})
        assert all(text.startswith(f"{item.name}: its `verify` command cannot be run: {command} ") for text in told)
