from __future__ import annotations

import subprocess
import sys


def test_the_quick_way_brings_nothing_heavy_along() -> None:
    """The daemon has the answer ready: no YAML, no cryptography, no rules and no parser are needed to print it."""
    script = "import sys, agent.cli.fast_path, agent.cli.client, agent.cli.output; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )

    assert "agent.cli.fast_path" in loaded
    assert not loaded & {"yaml", "cryptography", "hashlib", "awscrt", "argparse", "agent.config", "agent.core.change"}
    assert not loaded & {"agent.core.report", "agent.core.when"}
