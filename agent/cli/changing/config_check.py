"""The action `config check`: what the configuration names is checked.

It is apart from the verbs that show how a gateway stands, which need none of what is looked into here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from agent.cli.changing.hand_over import HANDED_OVER
from agent.cli.looking.status import look
from agent.config.files import proxy_password
from agent.config.values import FileValue
from agent.core.aws import client_ids
from agent.core.exit_codes import Exit
from agent.core.report import checks
from agent.core.report.checks import Verdict
from agent.core.report.document import findings_in
from agent.core.text_files import in_quotes
from agent.core.when.maintenance import MISSING_ZONE_REMEDY
from agent.dependants import hooks, units
from agent.errors import AgentError, BundleError, ConfigError, MaterialError, RefusedError, StoreError
from agent.operations import snapshot
from agent.operations.opening import open_store
from agent.operations.owners_eyes import hidden, not_for_this_user, why_notices_not_run
from agent.operations.parameters import Parameters
from agent.operations.unit_sandbox import kept_from
from agent.operations.wiring import check_enrolment, load_anchors, load_token
from agent.system.files import is_directory
from agent.trust import inbox, install

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from agent.cli.writing.output import Output
    from agent.config.values import Config


def carry_out(config: Config, output: Output) -> Exit:
    """Check what the configuration names, after the file itself was found sound.

    Raises:
        ConfigError: Something it names cannot be used; one line for each.
    """
    thing = _thing(config)
    zones = [f"{config.path}: {text} {MISSING_ZONE_REMEDY}" for text in config.missing_zones]
    parameters = Parameters(config)
    handed_over = parameters.hand_over()
    for_enrolment = _unusable(lambda: check_enrolment(config), parameters.enrolment)
    always = _unusable(lambda: load_anchors(config), parameters.rotation, lambda: _password(config))
    complaints = [*_check_endpoint(config), *zones, *always, *_check_state_dir(config), *hidden(config)]
    complaints += kept_from(config)
    if not thing:
        complaints += for_enrolment
    if complaints:
        raise ConfigError(*dict.fromkeys(complaints))
    warnings = [f"{concern} {client_ids.REMEDY}" for concern in config.concerns(thing)]
    if thing and not _is_spent(config):
        warnings += [f"{text.rstrip('.')}. Only a new enrolment needs it." for text in for_enrolment]
    warnings += [f"notices.command: {text}" for text in [why_notices_not_run(config)] if text]
    served = config.dependants
    unfit = (*hooks.unfit(served.hooks, served.gates), *units.unconfirmed((*served.signals, *served.units)))
    warnings += [*_quoted(config, parameters), *_of_bundles(config), *unfit, *_told_of(config)]
    told = {"config": str(config.path), "warnings": warnings, "handed_over": list(handed_over), "exit": Exit.DONE}
    output.tell(
        told,
        f"{config.path}: ok; endpoint {config.endpoint}:{config.port}, state in {config.state_dir}",
        *map(HANDED_OVER.format, handed_over),
        *(f"warning: {warning}" for warning in warnings),
    )
    return Exit.DONE


# What the status tells of that rests on the configuration and what it names.
_CONFIGURED = frozenset({"configuration", "disk", "files", "anchors", "watched"})
_SHOWN = 60  # characters of a name
_TOLD_ELSEWHERE = frozenset({"client-id-shared", "endpoint-moved", "gate-unasked"})


def _told_of(config: Config) -> list[str]:
    """Return what the gateway's status tells of what is configured: by the daemon's word, which may see less."""
    try:
        found = findings_in(look(config).document)
    except AgentError:
        return []
    return [item.text for item in found if item.check in _CONFIGURED and item.code not in _TOLD_ELSEWHERE]


def _thing(config: Config) -> str:
    """Return the name of the thing that the current set is for, as far as this user may know it."""
    try:
        return snapshot.take(config).thing
    except StoreError:
        return ""


def _check_endpoint(config: Config) -> list[str]:
    line = checks.of_endpoint(config.endpoint)
    where = "" if line.text.startswith("`endpoint`") else "endpoint: "
    return [f"{where}{line.text} ({line.remedy})"] if line.verdict is Verdict.FAILURE else []


def _unusable(*loads: Callable[[], object]) -> list[str]:
    """Return why a file cannot be used that the configuration names, for each."""
    complaints = []
    for load in loads:
        try:
            load()
        except RefusedError:
            continue  # without enrolment there is no claim to check
        except (ConfigError, MaterialError) as error:
            complaints.append(_with_remedy(error))
    return complaints


def _with_remedy(error: AgentError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)


def _password(config: Config) -> str:
    return proxy_password(config.proxy) if config.proxy is not None else ""


def _quoted(config: Config, parameters: Parameters) -> Iterator[str]:
    """Yield the files of one value whose value stands in quotes: no other program is asked whether it meant them."""
    for path, read in _values(config, parameters):
        with suppress(ConfigError, MaterialError):  # told already, or of no use any more
            if in_quotes(read()):
                yield f"{path}: the value stands in quotes, which are taken as a part of it: write it without them."


def _values(config: Config, parameters: Parameters) -> Iterator[tuple[Path, Callable[[], str]]]:
    enrollment = config.enrollment
    first = enrollment.parameters if enrollment is not None else {}
    for named, read in ((first, parameters.enrolment), (config.rotation.parameters, parameters.rotation)):
        for name, value in named.items():
            if isinstance(value, FileValue):
                yield value.path, partial(_named, read, name)
    if enrollment is not None and enrollment.token is not None:
        yield enrollment.token.path, partial(load_token, enrollment.token.path)
    if config.proxy is not None and config.proxy.password_file is not None:
        yield config.proxy.password_file, partial(_password, config)


def _named(read: Callable[[], Mapping[str, str]], name: str) -> str:
    return read()[name]


def _of_bundles(config: Config) -> Iterator[str]:
    """Yield what keeps signed bundles from being taken; a gateway works on without them."""
    if config.trust.root is None:
        return
    try:
        install.check_root(config.trust.root)
    except BundleError as error:
        yield f"trust.root: {error}. No signed bundle is taken. {error.hint}"
    try:
        odd = inbox.passed_over(config.inbox)
    except StoreError as error:
        if not error.denied:  # to this user
            yield f"trust.inbox: {error.in_full}"
        return
    if odd:
        named = f"{ascii(odd[0])[:_SHOWN]}{f' and {len(odd) - 1} more' if odd[1:] else ''}"
        yield f"trust.inbox: passed over: {named}. A drop's name has at most 100 characters, and all can be printed."


def _is_spent(config: Config) -> bool:
    """Whether a token is gone, as it should be from a gateway that has its certificate."""
    enrollment = config.enrollment
    return enrollment is not None and enrollment.token is not None and not _may_be_there(enrollment.token.path)


def _may_be_there(path: Path) -> bool:
    """Whether something is at a path, or this user may not look."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def _check_state_dir(config: Config) -> list[str]:
    try:
        with open_store(config):
            return []
    except StoreError as error:
        if os.path.lexists(config.state_dir) or not isinstance(error.__cause__, FileNotFoundError):
            return [f"state_dir: {not_for_this_user(config, error) or _with_remedy(error)}"]
    if is_directory(config.state_dir.parent) and os.access(config.state_dir.parent, os.W_OK):
        return []  # `enroll` makes it
    return [f"state_dir: {config.state_dir} does not exist and cannot be made by this user"]
