"""Say whether what a release ships is known to be vulnerable: `audit.py OUTDIR [--required]`.

pip-audit asks its advisory service about each line of `requirements/run.txt`. It is installed from
`requirements/release.txt` into an environment of its own, since nothing else needs it. PIP_AUDIT names another one.

Ends with 1 when something is known. What could not be asked about is said, and is no success: with `--required` it
ends with 2, without it the release goes on and the report says `"audited": false`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "run.txt"
KNOWN, UNASKED = 1, 2


@dataclass
class Audit:
    """What was learned.

    Attributes:
        audited: Whether the service answered for everything that is shipped.
        vulnerable: A line for each advisory.
        unasked: What it did not answer for, or why it could not be asked at all.
    """

    audited: bool = False
    vulnerable: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)


def read(report: dict[str, Any]) -> Audit:
    """Return what a report of pip-audit says; a package that it skipped was not audited, whatever its exit code."""
    vulnerable, unasked = [], []
    for item in report.get("dependencies", []):
        if "skip_reason" in item:
            unasked.append(f"{item['name']}: {item['skip_reason']}")
        for advisory in item.get("vulns", []):
            fixed = ", ".join(advisory.get("fix_versions", [])) or "no version yet"
            vulnerable.append(f"{item['name']} {item['version']}: {advisory['id']}, mended in {fixed}")
    return Audit(bool(report.get("dependencies")) and not unasked, vulnerable, unasked)


def ask() -> Audit:
    """Run pip-audit."""
    try:
        command = [
            _program(),
            "--require-hashes",
            "--disable-pip",
            "--progress-spinner=off",
            "-f",
            "json",
            "-r",
            str(LOCK),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - named here
        return read(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError) as error:
        return Audit(unasked=[f"pip-audit could not be installed ({error})"])
    except ValueError:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return Audit(unasked=[f"the advisory service gave no answer ({reason[:200]})"])


def _program() -> str:
    told = os.environ.get("PIP_AUDIT")
    if told:
        return told
    place = ROOT / "build" / "audit"
    venv.create(place, with_pip=True, clear=True)
    options = ["--disable-pip-version-check", "-qq", "--require-hashes", "--only-binary", ":all:"]
    lock = str(ROOT / "requirements" / "release.txt")
    subprocess.run([place / "bin" / "pip", "install", *options, "-r", lock], check=True)  # noqa: S603 - as above
    return str(place / "bin" / "pip-audit")


def main(outdir: Path, *, required: bool) -> int:
    """Write the report, print what a person has to know, and return the exit code."""
    found = ask()
    outdir.mkdir(parents=True, exist_ok=True)
    (outdir / "audit.json").write_text(json.dumps(asdict(found), indent=2) + "\n")
    for line in found.vulnerable:
        print(f"KNOWN TO BE VULNERABLE: {line}")
    for line in found.unasked:
        print(f"NOT AUDITED: {line}")
    if found.vulnerable:
        return KNOWN
    if found.audited:
        print(f"No advisory is known for what {LOCK.name} names.")
        return 0
    print("This release was not audited as a whole. Do it again where the advisory service can be reached.")
    return UNASKED if required else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), required="--required" in sys.argv[2:]))
