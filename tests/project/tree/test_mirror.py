"""Unit tests mirror the agent: `agent/room/module.py` has `tests/unit/room/test_module.py`, or a line in a table here.

A package's own code, in its `__init__.py`, has `tests/unit/room/test_room.py`. A module without a function or a class
has nothing to test.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from support.documents import sources

ROOT = Path(__file__).parents[3]
AGENT, TESTS = ROOT / "agent", ROOT / "tests"
UNIT = TESTS / "unit"

# Where a module is tested that has no unit test of its name, and why there.
COVERED_BY = {
    "backend/decide/replacement": (
        "scenarios/account/test_account_replacement.py",
        "each race of two devices that are a thing",
    ),
    "backend/decide/verdict": ("scenarios/account/test_account_races.py", "each deed, as the account carries it out"),
    "backend/errors": ("scenarios/account/test_account_races.py", "what a handler does about each"),
    "backend/handlers/account": (
        "scenarios/account/test_account_races.py",
        "deciding anew, and dying between two deeds",
    ),
    "backend/handlers/hook": ("scenarios/account/test_account_attacks.py", "enrolments and rotations, sound and not"),
    "backend/handlers/replacement": (
        "scenarios/account/test_account_replacement.py",
        "rounds that fail, repeat and are late",
    ),
    "backend/handlers/vending": (
        "scenarios/account/test_vending_races.py",
        "requests that repeat, cross and stop half-way",
    ),
    "backend/handlers/retirement": (
        "scenarios/account/test_account_races.py",
        "requests that repeat, cross and come late",
    ),
    "backend/memory": ("scenarios/account/test_account_machine.py", "the account in which everything happens"),
    "backend/names": ("scenarios/account/test_account_attacks.py", "the rule's filter, and each metric by its handler"),
    "backend/ports": (
        "scenarios/account/test_account_races.py",
        "protocols: mypy holds those who implement them to them",
    ),
    "backend/values": ("scenarios/account/test_account_machine.py", "rows, as they are written and read"),
    "change/activating": (
        "scenarios/going_back/test_falling_back.py",
        "proofs, links and the way back, as a gateway meets them",
    ),
    "change/climb": ("scenarios/going_back/test_ladder.py", "each rung, and the one that is accepted"),
    "change/engine": ("scenarios/changes/test_rotation.py", "each scenario is its test; this one is the plain story"),
    "change/in_flight": (
        "scenarios/machine/test_store_trouble.py",
        "a record that cannot be saved, and is saved again",
    ),
    "change/issuing": (
        "scenarios/cloud/test_odd_replies.py",
        "each step up to the generation, with answers of every kind",
    ),
    "change/parts": ("scenarios/changes/test_rotation.py", "puts the others together, as each scenario needs them"),
    "change/plan": ("scenarios/going_back/test_no_trap.py", "what may begin, and what may not"),
    "change/prover": ("scenarios/cloud/test_endpoint.py", "which sets are tried as controls, and which are not"),
    "change/rehearsal": ("scenarios/changes/test_rehearsal.py", "what costs nothing, and what the doctor asks"),
    "change/leave": ("scenarios/changes/test_gates.py", "what gates may hold, and for how long"),
    "change/retiring": ("scenarios/retirement/test_retirement.py", "what is asked for, written down and dropped"),
    "change/sets": ("scenarios/sets/test_anchors.py", "sets with the anchors of others"),
    "change/source": ("scenarios/changes/test_requests.py", "one session for one source"),
    "change/world": ("scenarios/changes/test_rotation.py", "a record of ports, of which the scenarios fill in each"),
    "cli/changing/changes": ("integration/command/test_gateway.py", "the real command without a daemon"),
    "cli/changing/config_check": (
        "integration/daemon/test_daemon.py",
        "the real command, with files that the agent may not read",
    ),
    "cli/carrying/outcomes": (
        "scenarios/retirement/test_retirement_doubts.py",
        "what is said at the end, in a person's words",
    ),
    "cli/looking/report": ("integration/command/test_import.py", "the real command, with the daemon and without"),
    "cli/looking/status": (
        "integration/command/test_gateway.py",
        "the real command, without and with a change in flight",
    ),
    "cli/changing/submit": ("unit/cli/changing/test_importing.py", "an import is planned in process and then followed"),
    "cli/carrying/via_daemon": ("integration/daemon/test_daemon.py", "the real command at the real socket"),
    "cli/writing/store_findings": ("unit/cli/elsewhere/test_publish_check.py", "what a pipeline is told of anchors"),
    "config/enrolment": ("unit/config/test_reader.py", "methods that are mixed, or lack something"),
    "config/kinds": ("unit/config/test_reader.py", "each kind by its complaints, with file and line"),
    "config/sections": ("unit/config/test_schema.py", "the table that is made of them"),
    "config/values": ("unit/config/test_reader.py", "what comes out of a file"),
    "core/change/advance": ("unit/core/change/test_lifecycle.py", "each event in each phase, and what it leaves"),
    "core/change/events": ("unit/core/change/test_lifecycle.py", "values, which the table takes in"),
    "core/change/probation_events": ("unit/core/change/test_proofs.py", "proofs that a doubt brings, probation's end"),
    "core/change/progress": ("unit/core/test_worker_protocol.py", "steps, on their way from a worker to the daemon"),
    "crypto/materials": ("scenarios/changes/test_rotation.py", "hands each call on to what has tests of its own"),
    "daemon/cloud/requests": ("unit/daemon/cloud/test_fleet.py", "requests that are lost, answered twice or too late"),
    "daemon/control/client": ("unit/daemon/control/test_server.py", "clients of the real socket"),
    "daemon/facts": ("unit/daemon/work/test_schedule_watch.py", "what the daemon decides by"),
    "daemon/hearing": ("unit/daemon/work/test_credential_watch.py", "directories that come, go and are replaced"),
    "daemon/finding_news": (
        "scenarios/told/test_told.py",
        "each finding, in the journal once; the command: daemon/notices",
    ),
    "daemon/record_reader": ("unit/daemon/work/test_schedule_watch.py", "records that change while the daemon runs"),
    "daemon/status_files": ("integration/daemon/test_daemon.py", "read as other programs read them"),
    "doctor/configuration": ("unit/doctor/test_examination.py", "configurations that are sound, doubtful and unusable"),
    "doctor/disk": ("unit/doctor/test_examination.py", "disks that are full, read-only or gone after a reboot"),
    "doctor/looks": ("unit/doctor/test_examination.py", "what the doctor sees of a gateway"),
    "fleet/errors": ("unit/fleet/test_aws.py", "each by what AWS says, with its exit code"),
    "fleet/own_cas": ("unit/fleet/commands/test_own_ca.py", "keys, CAs and the provider, by the verb that makes them"),
    "fleet/task": ("unit/fleet/commands/test_devices.py", "tables, JSON and what is typed, by the verbs that use them"),
    "fleet/trial/account": ("integration/fleet/test_stack.py", "each of its requests, on an emulator"),
    "iotcore/requests": ("integration/network/test_hostile_cloud.py", "answers that no cloud should give"),
    "iotcore/sync_client": ("integration/command/test_gateway.py", "the real SDK against the sandbox's broker"),
    "operations/execute": ("scenarios/changes/test_typed_again.py", "the same order twice, in each state"),
    "operations/opening": ("unit/operations/test_snapshot.py", "stores and clocks of every kind"),
    "operations/wiring": ("integration/command/test_gateway.py", "the real parts, wired"),
    "ports": ("scenarios/changes/test_rotation.py", "protocols: mypy holds those who implement them to them"),
    "sandbox/replies/answers": ("integration/front/test_publishing.py", "over the wire"),
    "sandbox/network/connection": ("integration/front/test_connecting.py", "over the wire, packet by packet"),
    "sandbox/replies/faulty_answers": (
        "integration/command/test_cloud_faults.py",
        "each fault against the real command",
    ),
    "sandbox/process/folder": ("unit/sandbox/process/test_console.py", "what an agent finds there"),
    "sandbox/network/front": ("integration/front/test_connecting.py", "over the wire"),
    "sandbox/network/mosquitto": ("integration/front/test_starting.py", "the real broker behind the front"),
    "sandbox/account/own_ca": (
        "unit/backend/decide/test_signing.py",
        "the CA and the key by which everything there is signed",
    ),
    "sandbox/network/packets": ("integration/front/test_publishing.py", "over the wire, packet by packet"),
    "sandbox/account/policies": (
        "integration/front/test_publishing.py",
        "what may be connected, published and subscribed to",
    ),
    "sandbox/services/provisioning": ("scenarios/changes/test_enrolment.py", "enrolments and rotations, by templates"),
    "sandbox/process/runner": ("unit/cli/elsewhere/test_sandbox.py", "the real process, by the verb"),
    "sandbox/service": ("integration/front/test_starting.py", "over the wire"),
    "sandbox/network/sessions": ("integration/front/test_sessions.py", "what is told of connections that ended"),
    "sandbox/replies/topics": ("integration/front/test_publishing.py", "filters and what they match"),
    "sandbox/network/vending": ("unit/iotcore/test_https.py", "over the wire, by the agent's own connections"),
    "store/files/ownership": ("crash/test_owner.py", "a command of root's that is killed, as the owner of the store"),
    "store/names": ("unit/store/sets/test_generations.py", "what generations and their files are called"),
    "store/sets/directory": ("unit/store/test_store.py", "generations are read and kept through the store"),
    "store/sets/other_sets": ("unit/store/test_store.py", "fallbacks are what recovery and rollback choose from"),
    "trust/repository_files": ("unit/trust/test_tuf_publisher.py", "what is published, and in which order"),
    "trust/signing_keys": ("unit/trust/test_tuf_publisher_keys.py", "each kind of key, and what is none"),
    "worker/carrying": ("scenarios/machine/test_store_trouble.py", "a worker on a disk that is full"),
    "worker/main": ("integration/daemon/test_daemon.py", "the real process, as the daemon starts it"),
}

# Unit tests that do not bear the name of a module, and the one that they are about.
ASPECTS = {
    "cli/writing/test_named_files.py": "cli/command_line/parser",
    "cli/elsewhere/test_publish_check.py": "cli/elsewhere/publish",
    "cli/looking/test_support_gaps.py": "cli/looking/support",
    "config/test_connections.py": "config/reader",
    "config/test_dependants.py": "config/reader",
    "config/test_holds.py": "config/reader",
    "config/test_looks.py": "config/reader",
    "core/change/test_budget.py": "core/change/decide",
    "core/change/test_crash_loops.py": "core/change/decide",
    "core/change/test_ladder_outer_rungs.py": "core/change/ladder",
    "core/change/test_machine.py": "core/change/lifecycle",
    "core/change/test_manifests.py": "core/change/records",
    "core/change/test_proofs.py": "core/change/decide",
    "core/change/test_record_bytes.py": "core/change/records",
    "core/change/test_refusals.py": "core/change/decide",
    "core/change/test_requests.py": "core/change/lifecycle",
    "core/change/test_sets_in_use.py": "core/change/lifecycle",
    "core/report/test_checks_together.py": "core/report/checks",
    "core/report/test_findings_and_time.py": "core/report/findings",
    "core/report/test_job_documents.py": "core/report/jobs",
    "core/when/test_back_off.py": "core/when/schedule",
    "core/when/test_every_plan.py": "core/when/schedule",
    "core/when/test_first_certificate.py": "core/when/schedule",
    "core/when/test_past.py": "core/when/schedule",
    "core/when/test_retirement_others.py": "core/when/retirement",
    "core/when/test_suggestions.py": "core/when/schedule",
    "core/when/test_taken_over.py": "core/when/reconnect",
    "core/when/test_wrong_clock.py": "core/when/schedule",
    "crypto/test_import_pairs.py": "crypto/import_files",
    "crypto/test_x509_stores.py": "crypto/x509",
    "iotcore/test_tls_anchors.py": "iotcore/tls",
    "daemon/cloud/test_jobs_again.py": "daemon/cloud/jobs",
    "daemon/cloud/test_retirement_order.py": "daemon/cloud/retirement",
    "daemon/control/test_server_limits.py": "daemon/control/server",
    "daemon/control/test_server_sockets.py": "daemon/control/server",
    "dependants/test_copies_as_found.py": "dependants/copies",
    "dependants/test_deployer_crashes.py": "dependants/deployer",
    "dependants/test_deployer_report.py": "dependants/deployer",
    "dependants/test_deployer_switches.py": "dependants/deployer",
    "dependants/test_deployer_troubles.py": "dependants/deployer",
    "dependants/test_export_elsewhere.py": "dependants/export",
    "dependants/test_helper_client.py": "dependants/helper",
    "dependants/test_passwords.py": "dependants/copies",
    "dependants/test_trouble_with_copies.py": "dependants/copies",
    "dependants/test_units_shown.py": "dependants/units",
    "dependants/test_ways_to_copies.py": "dependants/copies",
    "doctor/test_examination_causes.py": "doctor/examination",
    "fleet/commands/test_issued_ca.py": "fleet/commands/own_ca",
    "fleet/commands/test_own_ca_cut_off.py": "fleet/commands/own_ca",
    "fleet/commands/test_own_ca_signer.py": "fleet/commands/own_ca",
    "operations/test_snapshot_plan.py": "operations/snapshot",
    "sandbox/services/test_job_notices.py": "sandbox/services/jobs",
    "sandbox/network/test_older_bad_packets.py": "sandbox/network/older",
    "sandbox/services/test_retirement.py": "sandbox/cloud",
    "store/sets/test_restored.py": "store/recovery",
    "trust/test_archive_directories.py": "trust/archives",
    "trust/test_attacks.py": "trust/install",
    "trust/test_attacks_around_bundles.py": "trust/install",
    "trust/test_attacks_by_content.py": "trust/install",
    "trust/test_download_ways.py": "trust/download",
    "trust/test_inbox_drops.py": "trust/inbox",
    "trust/test_inbox_survey.py": "trust/inbox",
    "trust/test_install_downloads.py": "trust/install",
    "trust/test_install_drops.py": "trust/install",
    "trust/test_tuf_clock.py": "trust/tuf_client",
    "trust/test_tuf_memory.py": "trust/tuf_client",
    "trust/test_tuf_publisher_keys.py": "trust/tuf_publisher",
    "trust/test_tuf_publisher_writing.py": "trust/tuf_publisher",
    "trust/test_tuf_signatures.py": "trust/tuf_client",
    "trust/test_tuf_targets.py": "trust/tuf_client",
    "trust/test_tuf_words.py": "trust/tuf_client",
}

# What a test meets that starts the real command, or a program of it.
STARTERS = {"support.running.gateway"}
STARTED = {"cli", "daemon", "worker", "operations", "iotcore", "dependants", "sandbox"}


@cache
def modules(agent: Path = AGENT) -> frozenset[str]:
    """Return the modules that have anything to test; a package's own is named like the package."""
    return frozenset(_name(path, agent) for path in agent.rglob("*.py") if sources.facts(path).has_code) - {"."}


def _name(path: Path, agent: Path) -> str:
    return str((path.parent if path.name == "__init__.py" else path.with_suffix("")).relative_to(agent))


def module_of(test: str, known: frozenset[str]) -> str:
    """Return which of the known modules a unit test is about: `core/test_text.py` about `core/text`."""
    room, _, file = test.rpartition("/")
    subject = file.removeprefix("test_").removesuffix(".py")
    module = f"{room}/{subject}" if room else subject
    return room if room.rpartition("/")[2] == subject and module not in known else module


def unit_tests() -> set[str]:
    """Return the files of unit tests."""
    return {str(path.relative_to(UNIT)) for path in UNIT.rglob("test_*.py")}


@cache
def file_of(name: str) -> Path | None:
    """Return the file of a module of the agent or of the tests' support."""
    base = (TESTS if name.startswith("support") else ROOT) / name.replace(".", "/")
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def reached(test: Path) -> set[str]:
    """Return what a test imports: itself, by its fixtures and support, and within a room of the agent."""
    left = {
        name for path in (test, test.with_name("conftest.py")) if path.is_file() for name in sources.facts(path).imports
    }
    seen: set[str] = set()
    while left:
        name = left.pop()
        path = file_of(name) if name.startswith(("agent.", "support")) else None
        if path is None or name in seen:
            continue
        seen.add(name)
        room = ".".join(name.split(".")[:2])
        within = "" if name.startswith("support") else f"{room}."  # of an agent's module, only what its room is made of
        left |= {other for other in sources.facts(path).imports if other.startswith(within)}
    return seen


def is_reached(module: str, test: Path) -> bool:
    """Whether a test imports a module, or starts a program of which it is a part."""
    seen = reached(test)
    started = bool(STARTERS & seen) and module.partition("/")[0] in STARTED
    return started or f"agent.{module.replace('/', '.')}" in seen


def test_each_unit_test_is_about_a_module() -> None:
    """By its name, or by a line in the table of aspects."""
    named = {test for test in unit_tests() - ASPECTS.keys() if module_of(test, modules()) in modules()}
    assert sorted(unit_tests() - ASPECTS.keys() - named) == []


def test_each_module_is_tested_somewhere() -> None:
    """In the unit test of its name, or where the table says; never in both, so that the table stays short."""
    named = {module_of(test, modules()) for test in unit_tests()}
    assert sorted(modules() - named - COVERED_BY.keys()) == [], "write tests/unit/ROOM/test_MODULE.py"
    assert sorted(named & COVERED_BY.keys()) == [], "these need no line any more"


def test_the_tables_name_what_is_there() -> None:
    """A line whose module or test has gone elsewhere says nothing."""
    assert sorted((COVERED_BY.keys() | set(ASPECTS.values())) - modules()) == []
    assert sorted(ASPECTS.keys() - unit_tests()) == []


@pytest.mark.parametrize("module", COVERED_BY)
def test_the_table_names_a_test_that_meets_the_module(module: str) -> None:
    """It imports it, by way of its support if need be, or starts a program of which it is a part."""
    file, why = COVERED_BY[module]
    assert why
    assert (TESTS / file).is_file()
    assert is_reached(module, TESTS / file)


# -- the rule itself ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "module"),
    [
        ("test_errors.py", "errors"),
        ("cli/looking/test_check.py", "cli/looking/check"),
        ("cli/test_cli.py", "cli"),
        ("core/change/test_change.py", "core/change"),
        ("core/change/test_ladder.py", "core/change/ladder"),
        ("store/test_store.py", "store/store"),
    ],
)
def test_a_name_says_which_module(test: str, module: str) -> None:
    """A package's own code has the package's name, unless a module in it has that."""
    assert module_of(test, frozenset({"cli", "cli/looking/check", "core/change", "store/store"})) == module


def test_a_module_without_code_needs_no_test(tmp_path: Path) -> None:
    """Constants and a docstring say what they are."""
    (tmp_path / "room").mkdir()
    (tmp_path / "__init__.py").write_text('"""The agent."""\n\n__version__ = "1"\n')
    (tmp_path / "room" / "__init__.py").write_text("def own():\n    pass\n")
    (tmp_path / "room" / "names.py").write_text("A = 1\n")
    (tmp_path / "room" / "kinds.py").write_text("class Kind:\n    pass\n")
    assert modules(tmp_path) == {"room", "room/kinds"}


@pytest.mark.parametrize(
    ("module", "file", "met"),
    [
        ("store/files/durable", "unit/store/files/test_durable.py", True),  # imported
        ("change/prover", "scenarios/cloud/test_endpoint.py", True),  # by the support, and by the room's own
        ("daemon/app", "integration/daemon/test_daemon.py", True),  # started
        ("trust/archives", "unit/core/change/test_ladder.py", False),
        ("daemon/app", "scenarios/cloud/test_endpoint.py", False),  # no scenario starts a daemon
    ],
)
def test_a_test_meets_what_it_imports_or_starts(module: str, file: str, *, met: bool) -> None:
    """And nothing else."""
    assert is_reached(module, TESTS / file) is met
