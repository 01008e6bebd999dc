"""The configuration file: what may stand in it, how it is read, and what it says.

`schema` is the one table of keys, `values` what comes out, `reader` the walker between them, `files` what reads the
files that a configuration names. `describe` writes the table down for people and editors; nothing that runs imports it.
"""

from __future__ import annotations

from agent.config.files import MAX_MATERIAL, read_bounded, read_secret, resolve
from agent.config.reader import MAX_CONFIG, load, parse, runtime_dir
from agent.config.schema import PRODUCT, TARGET
from agent.config.values import (
    ClaimConfig,
    Config,
    EnrollmentConfig,
    FileValue,
    RotationConfig,
    TrustConfig,
    WatchConfig,
)

__all__ = [
    "MAX_CONFIG",
    "MAX_MATERIAL",
    "PRODUCT",
    "TARGET",
    "ClaimConfig",
    "Config",
    "EnrollmentConfig",
    "FileValue",
    "RotationConfig",
    "TrustConfig",
    "WatchConfig",
    "load",
    "parse",
    "read_bounded",
    "read_secret",
    "resolve",
    "runtime_dir",
]
