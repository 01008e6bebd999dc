"""What programs read of a running agent has all that earlier versions said, in the same types."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import formats

if TYPE_CHECKING:
    from support.formats import Shape

DATA = Path(__file__).parents[1] / "data"
VERSIONS = sorted(path for path in DATA.iterdir() if path.name[0].isdigit())


@pytest.fixture(scope="module", name="today")
def _today(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shape]:
    story = formats.observe(tmp_path_factory.mktemp("story"))
    return formats.shapes(story.documents, story.files)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_each_document_keeps_its_keys_and_types(version: Path, today: dict[str, Shape]) -> None:
    """The JSON of each verb, the status file, the metrics, the shadow and what jobs are answered."""
    lost = {
        name: missing
        for name, before in formats.recorded(version).items()
        if (missing := formats.missing(before, today.get(name, {})))
    }
    assert lost == {}
