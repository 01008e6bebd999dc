"""Configurations as text, and what the reader complains of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.config import reader
from agent.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MINIMUM = "endpoint: a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com\n"


def write(tmp_path: Path, text: str | bytes) -> Path:
    """Write a configuration file."""
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def complaint(tmp_path: Path, text: str | bytes) -> str:
    """Return what is said about a configuration that is refused."""
    with pytest.raises(ConfigError) as caught:
        reader.load(write(tmp_path, text))
    return str(caught.value)
