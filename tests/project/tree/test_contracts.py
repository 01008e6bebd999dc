"""The import contracts: each catches what is planted against it, and nothing new stands outside of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import grimp
import pytest

ROOT = Path(__file__).parents[3]
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
CONTRACTS: list[dict[str, Any]] = SETTINGS["contracts"]

ROOMS = "Rooms know only what is below them"
CORE = "The core's rooms know only what is below them"
CYCLES = "No two modules of a room need each other"
PURE = "The core performs no I/O, reads no clock and draws no chance"
SDK = "Only one room meets the SDK"
CRYPTOGRAPHY = "Only one room meets cryptography on a gateway"
SIGNED = "Only one room meets the libraries that signed bundles need"
HTTPS = "HTTPS is asked where the network is"
YAML = "Only the configuration is YAML"
ROOT_HELPER = "What may run as root talks to no network"
SANDBOX = "Nothing but the command starts the sandbox"
WIRE = "Only the sandbox speaks MQTT by itself"
SYSTEMD = "Only one room meets systemd's library"
ACCOUNT_PURE = "The account's decisions perform no I/O, read no clock and draw no chance"
ACCOUNT_ROOMS = "The account's decisions know no port, and ports no handler"
ACCOUNT_NAMES = "Of a gateway's rooms the account takes pure names alone"
BOTO3 = "Only the account's own rooms meet boto3"
ACCOUNT = "No gateway carries the account's code"
FLEET = "Nothing but the command does an operator's work"
FLEET_PURE = "An operator's verbs decide without the account"
IDLE = "The idle daemon loads nothing heavy"

# Of the standard library, what the core may use: a list of what it may not would forget one.
PURE_LIBRARY = {
    "__future__", "base64", "collections", "dataclasses", "datetime", "difflib", "enum", "errno", "functools",
    "hashlib", "hmac", "html", "ipaddress", "itertools", "json", "math", "operator", "re", "types", "typing", "zlib",
}  # fmt: skip

# The contract, what breaks it, and where that is planted.
PLANTED = [
    (ROOMS, "", "agent/novelty.py"),
    (ROOMS, "", "agent/novelty/__init__.py"),
    (ROOMS, "from agent.cli.looking import status", "agent/store/novelty.py"),
    (ROOMS, "from agent.store.files import durable", "agent/core/change/novelty.py"),
    (ROOMS, "from agent.iotcore import tls", "agent/change/novelty.py"),
    (ROOMS, "from agent.crypto import keys", "agent/system/novelty.py"),
    (ROOMS, "def f():\n    from agent.daemon import app", "agent/worker/novelty.py"),
    (CORE, "", "agent/core/novelty.py"),
    (CORE, "", "agent/core/novelty/__init__.py"),
    (CORE, "from agent.core.report import status", "agent/core/change/novelty.py"),
    (CYCLES, "from agent.store import novelty_b", "agent/store/novelty_a.py"),
    (PURE, "import time", "agent/core/when/novelty.py"),
    (PURE, "def f():\n    import socket", "agent/core/when/novelty.py"),
    (SDK, "import awscrt.mqtt5", "agent/doctor/novelty.py"),
    (SDK, "def f():\n    from awsiot import mqtt_connection_builder", "agent/cli/novelty.py"),
    (CRYPTOGRAPHY, "from cryptography import x509", "agent/dependants/novelty.py"),
    (CRYPTOGRAPHY, "from cryptography import x509", "agent/store/novelty.py"),
    (CRYPTOGRAPHY, "from cryptography import x509", "agent/backend/handlers/novelty.py"),
    (SIGNED, "import tuf.ngclient", "agent/cli/novelty.py"),
    (SIGNED, "from securesystemslib import signer", "agent/operations/novelty.py"),
    (HTTPS, "import urllib3", "agent/operations/novelty.py"),
    (HTTPS, "def f():\n    from urllib3 import PoolManager", "agent/cli/novelty.py"),
    (YAML, "import yaml", "agent/cli/novelty.py"),
    (ROOT_HELPER, "import urllib.request", "agent/dependants/novelty.py"),
    (ROOT_HELPER, "from agent.trust import download", "agent/dependants/novelty.py"),
    (SANDBOX, "from agent.sandbox.replies import faults", "agent/cli/novelty.py"),
    (SANDBOX, "def f():\n    from agent.sandbox.replies import faults", "agent/daemon/novelty.py"),
    (WIRE, "import mqtt5", "agent/iotcore/novelty.py"),
    (SYSTEMD, "import systemd.journal", "agent/daemon/novelty.py"),
    (SYSTEMD, "def f():\n    from systemd import _daemon", "agent/cli/novelty.py"),
    (BOTO3, "import boto3", "agent/backend/novelty.py"),
    (BOTO3, "def f():\n    from botocore import config", "agent/cli/novelty.py"),
    (ACCOUNT_PURE, "import boto3", "agent/backend/handlers/novelty.py"),
    (ACCOUNT_PURE, "def f():\n    import time", "agent/backend/decide/novelty.py"),
    (ACCOUNT_ROOMS, "from agent.backend import ports", "agent/backend/decide/novelty.py"),
    (ACCOUNT_ROOMS, "", "agent/backend/novelty.py"),
    (ACCOUNT_NAMES, "from agent.core.failure import failures", "agent/backend/handlers/novelty.py"),
    (ACCOUNT_NAMES, "from agent import errors", "agent/backend/decide/novelty.py"),
    (ACCOUNT, "from agent.backend import names", "agent/daemon/novelty.py"),
    (ACCOUNT, "def f():\n    from agent.backend.decide import admission", "agent/cli/novelty.py"),
    (FLEET, "from agent.fleet import tables", "agent/cli/novelty.py"),
    (FLEET, "def f():\n    from agent.fleet import aws", "agent/daemon/novelty.py"),
    (FLEET_PURE, "import boto3", "agent/fleet/decide/novelty.py"),
    (FLEET_PURE, "def f():\n    import secrets", "agent/fleet/decide/novelty.py"),
    (BOTO3, "import boto3", "agent/fleet/novelty.py"),
    (IDLE, "import ssl", "agent/daemon/novelty.py"),
    (IDLE, "from agent.crypto import keys", "agent/daemon/novelty.py"),
]


def broken(tree: Path) -> dict[str, str]:
    """Return the contracts that a tree breaks, with what is said of each."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False, env={"COLUMNS": "200"})
    assert "Contracts: " in done.stdout, done.stdout + done.stderr
    _, *parts = re.split(r"^(\S.*)\n-+$", done.stdout.partition("Broken contracts\n-")[2], flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Path:
    """A copy of the package and of its contracts."""
    shutil.copytree(ROOT / "agent", tmp_path / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_none_is_broken(tree: Path) -> None:
    """Else what is planted would prove nothing."""
    assert broken(tree) == {}


def test_each_planted_import_breaks_its_contract(tree: Path) -> None:
    """In a module that no contract names. All stand in one tree: what is said of a contract names what breaks it."""
    for number, (contract, text, place) in enumerate(PLANTED):
        plant(tree, number, place, text)
        if contract == CYCLES:
            plant(tree, number, "agent/store/novelty_b.py", "from agent.store import novelty_a")
    said = broken(tree)
    assert [
        (contract, text, place)
        for number, (contract, text, place) in enumerate(PLANTED)
        if name(number) not in said.get(contract, "")
    ] == []


def name(number: int) -> str:
    """Return the name of what is planted, which nothing else has."""
    return f"novelty{number:03}"


def plant(tree: Path, number: int, place: str, text: str) -> None:
    """Write a module."""
    path = tree / place.replace("novelty", name(number))
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'"""Planted."""\n\n{text.replace("novelty", name(number))}\n')


def test_each_contract_is_proven() -> None:
    """One that is added gets a line in the table."""
    assert {contract["name"] for contract in CONTRACTS} == {contract for contract, _, _ in PLANTED}


def test_nothing_is_excused_but_the_sandbox() -> None:
    """An import that a contract ignores is a hole in it."""
    ignored = [excuse for contract in CONTRACTS for excuse in contract.get("ignore_imports", ())]
    assert all(excuse.startswith("agent.sandbox.") for excuse in ignored)


def test_each_package_of_others_has_one_room() -> None:
    """A new dependency is named by a contract before it can be imported, also for type checkers alone."""
    protected = {name for contract in CONTRACTS for name in contract.get("protected_modules", ())}
    graph = grimp.build_graph("agent", include_external_packages=True, cache_dir=None)
    imported = {name.partition(".")[0] for name in graph.modules} - sys.stdlib_module_names - {"agent"}
    assert imported <= protected


def pure_of_the_account(graph: grimp.ImportGraph) -> set[str]:
    """Return the modules of the account's side that a contract keeps pure."""
    (contract,) = (contract for contract in CONTRACTS if contract["name"] == ACCOUNT_PURE)
    return {module for name in contract["source_modules"] for module in {name, *graph.find_descendants(name)}}


def test_the_core_uses_the_part_of_the_library_that_is_pure() -> None:
    """Whatever the contract that forbids the rest has forgotten."""
    graph = grimp.build_graph(
        "agent", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    core = {"agent.errors", "agent.ports", *graph.find_descendants("agent.core")}
    used = {
        name for module in core | pure_of_the_account(graph) for name in graph.find_modules_directly_imported_by(module)
    }
    # Of the signer, which builds what others sign: it makes no key, and so draws no chance.
    assert {name for name in used if not name.startswith("agent.")} <= PURE_LIBRARY | {"cryptography"}
