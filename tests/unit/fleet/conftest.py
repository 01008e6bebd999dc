"""An operator's machine before moto."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.aws.fleet_account import Operator
from support.aws.moto_account import emulated

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="operator")
def _operator(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    with emulated():
        operator = Operator(capsys, monkeypatch)
        operator.deploy(ReEnrol="armed")
        yield operator
