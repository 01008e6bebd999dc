"""What the service does before each start costs little; what it hands over is in unit/operations/test_parameters.py."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_it_loads_what_handing_over_needs(tmp_path: Path) -> None:
    """The configuration, and neither the parser of command lines nor what checks, connects, signs or changes."""
    (tmp_path / "config.yaml").write_text(f"endpoint: x.example\nstate_dir: {tmp_path}/state\n")
    script = (
        f"import sys\nfrom agent.cli import main\nmain(['--config', '{tmp_path}/config.yaml', 'config', 'hand-over'])\n"
        "no = {'argparse', 'subprocess', 'awscrt', 'cryptography', 'agent.cli.command_line.parser'}\n"
        "no |= {'agent.cli.changing.config_check', 'agent.change', 'agent.operations.wiring'}\n"
        "no |= {'agent.operations.snapshot', 'agent.trust'}\n"
        "print('agent.cli.changing.hand_over' in sys.modules, sorted(no & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "True []"
