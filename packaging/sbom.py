"""Write what a package of the agent consists of, as CycloneDX 1.6: `sbom.py OUTDIR`.

It is made from what the package is made from: `requirements/run.txt`, which names each wheel, and `debian/control`,
which names what the system brings. So it needs neither a network nor another program, and the same tree gives the same
bytes. What is compiled into a wheel (OpenSSL in `cryptography`, AWS's C libraries in `awscrt`) is that wheel's own
matter and not listed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
NAME = "iot-cert-agent"


def wheels(lock: str) -> list[dict[str, Any]]:
    """Return a component for each line of a lock file that names one."""
    pinned = re.findall(r"^([a-z0-9._-]+)==(\S+) ", lock, flags=re.MULTILINE)
    return [_component(name, f"pkg:pypi/{name}@{version}", version) for name, version in pinned]


def system(control: str) -> list[dict[str, Any]]:
    """Return a component for each package that must be there; which version, the system's owner knows."""
    wanted = re.search(r"^Depends: (.*(?:\n .*)*)", control, flags=re.MULTILINE)
    names = {item.split()[0].split(":")[0] for item in wanted[1].split(",") if item.strip()} if wanted else set()
    return [_component(name, f"pkg:deb/debian/{name}") for name in sorted(names)]


def _component(name: str, purl: str, version: str = "") -> dict[str, Any]:
    found = {"type": "library", "name": name, "bom-ref": purl, "purl": purl}
    return {**found, "version": version} if version else found


def document(version: str, at: datetime, components: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the whole; its serial number follows from its content."""
    own = {**_component(NAME, f"pkg:generic/{NAME}@{version}", version), "type": "application"}
    licence = [{"license": {"id": "Apache-2.0"}}]
    refs = [item["bom-ref"] for item in components]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}", "component": {**own, "licenses": licence}},
        "components": components,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": refs}, *({"ref": ref} for ref in refs)],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {**content, "serialNumber": f"urn:uuid:{serial}"}


def _published_at() -> datetime:
    told = os.environ.get("SOURCE_DATE_EPOCH")
    if told is None:
        git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "log", "-1", "--format=%ct"]
        told = subprocess.run(git, capture_output=True, text=True, check=True).stdout  # noqa: S603 - nothing from outside
    return datetime.fromtimestamp(int(told), UTC)


def main(outdir: Path) -> None:
    """Write it, and print where it is."""
    version = re.findall(r'^__version__ = "(.*)"$', (ROOT / "agent" / "__init__.py").read_text(), re.MULTILINE)[0]
    lock = (ROOT / "requirements" / "run.txt").read_text()
    control = (ROOT / "packaging" / "debian" / "control").read_text()
    found = document(version, _published_at(), [*wheels(lock), *system(control)])
    target = outdir / f"{NAME}_{version}.cdx.json"
    outdir.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    print(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
