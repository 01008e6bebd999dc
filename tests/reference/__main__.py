"""`python -m reference DIRECTORY`: writes the reference and the JSON Schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from reference import pages, situations
from reference.documents import whole

PAGES = {
    "index.md": pages.index,
    "verbs.md": pages.verbs,
    "configuration.md": pages.configuration,
    "json.md": pages.documents,
    "metrics.md": pages.metrics,
    "journal.md": pages.journal,
}
REFERENCE = pages.ROOT / "docs" / "reference"
TECHNICIAN = "../technician.md"  # of which a part is written
NAMES = (*PAGES, "files.md", "iot-cert.schema.json", TECHNICIAN)


def written() -> dict[str, str]:
    """Return each file, by its name."""
    found = {name: page() for name, page in PAGES.items()}
    with TemporaryDirectory() as folder:
        found["files.md"] = pages.files(Path(folder) / "state")
    found["iot-cert.schema.json"] = json.dumps(whole(), indent=2) + "\n"
    return found | {TECHNICIAN: situations.into((REFERENCE / TECHNICIAN).read_text())}


def main(directory: str) -> None:
    """Write them."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    for name, text in written().items():
        (Path(directory) / name).write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
