"""What goes with a release: the list of its parts, and whether any is known to be vulnerable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import __version__

ROOT = Path(__file__).parents[3]
LOCK = (ROOT / "requirements" / "run.txt").read_text()
PINNED = dict(re.findall(r"^([a-z0-9._-]+)==(\S+) ", LOCK, flags=re.MULTILINE))
SOUND = {"dependencies": [{"name": name, "version": version, "vulns": []} for name, version in PINNED.items()]}


def bill(outdir: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the list of parts as it is written, and as it is read."""
    command = [sys.executable, f"{ROOT}/packaging/sbom.py", str(outdir)]
    subprocess.run(command, env={**os.environ, "SOURCE_DATE_EPOCH": "1800000000"}, check=True, capture_output=True)
    data = (outdir / f"iot-cert-agent_{__version__}.cdx.json").read_bytes()
    return data, json.loads(data)


def audited(place: Path, said: str, *options: str) -> tuple[int, str, dict[str, Any]]:
    """Return exit code, text and report of an audit whose tool says something."""
    (place / "said").write_text(said)
    tool = place / "pip-audit"
    tool.write_text(f'#!/bin/sh\nset -e\ncat "{place}/said"\necho "no route to the service" >&2\n')
    tool.chmod(0o755)
    command = [sys.executable, f"{ROOT}/packaging/audit.py", str(place), *options]
    environment = {**os.environ, "PIP_AUDIT": str(tool)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, json.loads((place / "audit.json").read_text())


def test_the_list_of_parts_names_what_is_packed(tmp_path: Path) -> None:
    """Each wheel of the lock file with its version, and what the system brings."""
    _, found = bill(tmp_path)
    parts = {item["purl"]: item.get("version") for item in found["components"]}
    assert {f"pkg:pypi/{name}@{version}": version for name, version in PINNED.items()}.items() <= parts.items()
    control = (ROOT / "packaging" / "debian" / "control").read_text()
    assert {"pkg:deb/debian/python3", "pkg:deb/debian/systemd"} <= parts.keys()
    assert all(re.search(rf"\b{re.escape(purl.rpartition('/')[2])}\b", control) for purl in parts if "deb" in purl)
    assert found["metadata"]["component"]["version"] == __version__
    refs = [item["bom-ref"] for item in found["components"]]
    assert found["dependencies"][0]["dependsOn"] == refs
    assert len(set(refs)) == len(refs)


def test_the_same_tree_gives_the_same_list(tmp_path: Path) -> None:
    """To the byte, its serial number included."""
    assert bill(tmp_path / "a")[0] == bill(tmp_path / "b")[0]


def test_an_audit_without_advisories_says_so(tmp_path: Path) -> None:
    """Once the service has answered for everything."""
    code, told, report = audited(tmp_path, json.dumps(SOUND), "--required")
    assert (code, report["audited"]) == (0, True)
    assert told == "No advisory is known for what run.txt names.\n"


def test_an_advisory_ends_a_release(tmp_path: Path) -> None:
    """With the version that mends it."""
    advisory = {"id": "CVE-2027-1", "fix_versions": ["9.9"]}
    bad = {"dependencies": [*SOUND["dependencies"], {"name": "x", "version": "1", "vulns": [advisory]}]}
    code, told, report = audited(tmp_path, json.dumps(bad))
    assert code == 1
    assert told.splitlines()[0] == "KNOWN TO BE VULNERABLE: x 1: CVE-2027-1, mended in 9.9"
    assert report["vulnerable"] == ["x 1: CVE-2027-1, mended in 9.9"]


@pytest.mark.parametrize("said", ["", "not JSON", json.dumps({"dependencies": []})])
def test_a_service_that_gives_no_answer_is_no_success(tmp_path: Path, said: str) -> None:
    """The release goes on, the text says what was not done, and where it is required that is an error."""
    code, told, report = audited(tmp_path, said)
    assert (code, report["audited"]) == (0, False)
    assert "was not audited" in told
    assert audited(tmp_path, said, "--required")[0] == 2


def test_a_package_that_was_skipped_was_not_audited(tmp_path: Path) -> None:
    """pip-audit itself ends with 0 then."""
    skipped = {"dependencies": [*SOUND["dependencies"], {"name": "x", "skip_reason": "it is unknown"}]}
    code, told, report = audited(tmp_path, json.dumps(skipped), "--required")
    assert (code, report["audited"]) == (2, False)
    assert told.splitlines()[0] == "NOT AUDITED: x: it is unknown"
