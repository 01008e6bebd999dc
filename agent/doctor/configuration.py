"""What is to be said of the configuration: whether it is sound, and what speaks against a sound one."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.config.reader import load
from agent.core.aws import client_ids
from agent.core.exit_codes import Exit
from agent.core.report.checks import GO_ON_WITHOUT, Line, failure, ok, warning
from agent.core.when.maintenance import MISSING_ZONE_REMEDY
from agent.dependants import hooks, units
from agent.errors import BundleError, ConfigError, MaterialError
from agent.operations.owners_eyes import hidden, not_for_this_user, why_notices_not_run
from agent.operations.parameters import Parameters
from agent.operations.unit_sandbox import kept_from
from agent.operations.wiring import usable_claim
from agent.trust.install import check_root

if TYPE_CHECKING:
    from pathlib import Path

    from agent.config.values import Config
    from agent.core.dependants import Dependants


_CLAIM = "Put its certificate and key in place, or remove both; a new enrolment, the last way back, needs them."
_KEPT = "The daemon keeps the configuration it has."
_REMEDY = "`iot-cert config check` lists all complaints; the daemon keeps the configuration it has."


def examine(path: Path) -> tuple[Config | None, Line]:
    """Return the configuration, or None when it cannot be used, and the line about it."""
    try:
        return load(path), ok("configuration", f"{path} is sound.")
    except ConfigError as error:
        first, *others = error.complaints
        kept = "" if error.denied else f" {_KEPT}"  # another user sees whether it can be used
        remedy = _REMEDY if others or not error.hint else f"{error.hint}{kept}"
    with suppress(ConfigError):
        return load(path, allow_legacy=True), ok("configuration", f"{path} is readable.")
    more = f" (and {len(others)} more)" if others else ""
    return None, failure("configuration", "configuration", f"{first}{more}.", remedy, Exit.USAGE)


def claim_lost(config: Config) -> str:
    """Return that a claim is there and cannot be used; empty where it is whole, or gone as a whole, as it may be."""
    claim = config.enrollment.claim if config.enrollment else None
    if claim is None or not (os.path.lexists(claim.certificate) or os.path.lexists(claim.key)):
        return ""
    try:
        usable_claim(config)
    except MaterialError as error:
        if error.hint.startswith("sudo chmod") or not_for_this_user(config, error):
            return ""  # it is told with the other files, or to who may look
        return f"The claim cannot be used. {str(error).rstrip('.')}."
    return ""


def doubts(config: Config, thing: str, differs: tuple[str, ...] = ()) -> Line | None:
    """Return the gravest that speaks against a sound configuration, or None.

    Args:
        config: The configuration.
        thing: The thing that this gateway is, or nothing while it is none.
        differs: What is configured otherwise than it was for the set in use, a sentence each.
    """
    try:
        Parameters(config).rotation()
    except MaterialError as error:
        if not_for_this_user(config, error):
            return None  # what it says of the rest, it says to the user that may read it
        text = f"No certificate can be rotated: {str(error).rstrip('.')}."
        return failure("configuration", "parameter", text, error.hint_or("See `rotation.parameters`."))
    unseen = hidden(config)
    if unseen:
        return failure("configuration", "not-readable", " ".join(unseen), "The daemon needs it, too.", Exit.USAGE)
    kept = kept_from(config)
    if kept:
        remedy = "What the daemon may reach, its unit says: `systemctl cat iot-cert-agent`."
        return failure("configuration", "sandbox", " ".join(kept), remedy, Exit.USAGE)
    return _lesser(config, thing, differs)


def _lesser(config: Config, thing: str, differs: tuple[str, ...]) -> Line | None:
    unheard = why_notices_not_run(config)
    if unheard:
        return warning("configuration", "notices", f"No notice can be given: {unheard}", "See `notices.command`.")
    if config.missing_zones:
        return warning("configuration", "time-zone", " ".join(config.missing_zones), MISSING_ZONE_REMEDY)
    concerns = config.concerns(thing)
    if concerns:
        return warning("configuration", "client-id-shared", " ".join(concerns), client_ids.REMEDY)
    unfit = _unfit(config.dependants)
    if unfit is not None:
        return unfit
    later = _for_later(config, thing)
    if later is not None:
        return later
    if differs:
        remedy = "`iot-cert rotate`, or `rotation: {on_change: rotate}`, makes it true."
        return warning("configuration", "differs", " ".join(differs), remedy)
    return None


def _for_later(config: Config, thing: str) -> Line | None:
    """Return what a new enrolment, or a bundle, would fail for on the day that it is needed."""
    lost = claim_lost(config) if thing else ""
    if lost:
        return warning("configuration", "claim-unusable", lost, _CLAIM)
    if config.trust.root is not None:
        try:
            check_root(config.trust.root)
        except BundleError as error:
            if not not_for_this_user(config, error):
                return warning("configuration", "root-unusable", f"No signed bundle is taken. {error}.", error.hint)
    return None


def _unfit(dependants: Dependants) -> Line | None:
    unasked = " ".join(hooks.unfit(dependants.gates))
    if unasked:
        return warning("configuration", "gate-unasked", unasked, GO_ON_WITHOUT)
    unconfirmed = units.unconfirmed((*dependants.signals, *dependants.units))
    unfit = " ".join((*hooks.unfit(dependants.hooks), *unconfirmed))
    if unfit:
        return warning("configuration", "program", unfit, "`iot-cert deploy` tries them once it is put right.")
    return None
