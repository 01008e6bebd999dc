"""What programs read of a running agent has all that earlier versions said, in the same types."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from reference import documents
from support.documents.json_schema import misfits
from support.telling import formats

if TYPE_CHECKING:
    from support.telling.formats import RecordedStory, Shape

DATA = Path(__file__).parents[2] / "data"
VERSIONS = sorted(path for path in DATA.iterdir() if path.name[0].isdigit())


def test_what_programs_read_is_as_before_as_published_and_as_described(tmp_path: Path) -> None:
    """One story of a gateway, for all of it: what is told there by whom is the same."""
    story = formats.observe(tmp_path)
    today = formats.shapes(story.documents, story.files)
    lost = {version.name: what_is_gone(version, today) for version in VERSIONS}
    assert lost == {version.name: {} for version in VERSIONS}
    each_document_fits_the_published_schema(story)
    each_metric_is_on_its_page(story)


def what_is_gone(version: Path, today: dict[str, Shape]) -> dict[str, object]:
    """Return what a reader misses in the JSON of verbs, the status file, the metrics, the shadow and jobs' answers."""
    return {
        name: missing
        for name, before in formats.recorded(version).items()
        if (missing := formats.missing(before, today.get(name, {})))
    }


def each_document_fits_the_published_schema(story: RecordedStory) -> None:
    """Every line of every verb, with no key that the schema does not name; the status file is what `status` prints."""
    whole = documents.whole()
    said = {name.removesuffix("-by-daemon"): found for name, found in story.documents.items()}
    said["status"] = [*story.documents["status"], *story.documents["status-by-daemon"]]
    said["status"].append(json.loads(story.files["status.json"]))
    said["trust-install"] = [*said["trust-install"], *said.pop("error")]
    checked = {name: found for name, found in said.items() if name not in {"jobs", "shadow"}}
    missing = {verb.replace(" ", "-") for verb in documents.VERBS} - set(checked)
    assert missing == {"config-hand-over", "sandbox"}
    for name, lines in checked.items():
        for line in lines:
            schema = whole["$defs"][f"iot-cert-{name}"]
            assert list(misfits(schema, line, whole=whole, closed=True)) == [], (name, line)


def each_metric_is_on_its_page(story: RecordedStory) -> None:
    """What a daemon wrote."""
    page = (DATA.parents[1] / "docs" / "reference" / "metrics.md").read_text()
    written = re.findall(r"^# TYPE (\S+)", story.files["metrics.prom"], flags=re.MULTILINE)
    assert [name for name in written if f"| `{name}` |" not in page] == []
