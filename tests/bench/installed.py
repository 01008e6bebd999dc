"""The agent as a package would install it: an environment with what it needs to run, and nothing a developer needs.

An editable installation makes each start of the interpreter half again as long and fills it with modules, the floor's
as much as the agent's. So both are run from an environment of links to what is installed here, and of the agent as it
is compiled for a package.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from support.running import gateway

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

_NEEDED = ("awscrt", "_awscrt*", "awsiot", "cffi", "_cffi_backend*", "cryptography", "systemd", "yaml", "_yaml")


def install(folder: Path) -> str:
    """Make the environment, let the test gateways use its command, and return its interpreter."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages, programs = folder / "lib" / version / "site-packages", folder / "bin"
    packages.mkdir(parents=True)
    programs.mkdir()
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    interpreter = programs / "python"
    interpreter.symlink_to(Path(sys.executable).resolve())
    for path in _libraries():
        (packages / path.name).symlink_to(path)
    shutil.copytree(ROOT / "agent", packages / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    lean = [sys.executable, "-I", str(ROOT / "packaging" / "lean.py"), str(packages / "agent"), str(packages / "agent")]
    subprocess.run(lean, check=True)
    command = programs / "iot-cert"
    body = Path(sys.executable).with_name("iot-cert").read_text().split("\n", 1)[1]
    command.write_text(f"#!{interpreter}\n{body}")
    command.chmod(0o755)
    gateway.COMMAND = str(command)
    return str(interpreter)


def _libraries() -> Iterator[Path]:
    for scheme in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for pattern in _NEEDED:
            yield from Path(scheme).glob(pattern)
