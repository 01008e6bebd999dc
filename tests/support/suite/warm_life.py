"""A gateway's first days, lived by the process that forks commands: what they warm up, no command does again.

What is compiled, read or kept at its first use (patterns, codecs of records, the interpreter's own shortcuts) costs a
short command as much as its work.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from agent.cli.command_line.parser import parse
from agent.cli.looking.status import look
from agent.config.reader import load
from support.simulated.rig import Rig

_CONFIGURATION = """\
endpoint: localhost
port: 8883
thing_name: gw-0042
state_dir: PLACE/state
runtime_dir: PLACE/run
trust: {anchors: PLACE/roots.pem}
enrollment:
  template: gateway
  parameters: {SerialNumber: "0042"}
  claim: {certificate: PLACE/claim.pem, key: PLACE/claim.key}
rotation:
  template: gateway-rotation
"""


def live() -> None:
    """Enrol a gateway before the simulated cloud, rotate it, and look at it; no thread is left, and no file."""
    with TemporaryDirectory() as name:
        place = Path(name)
        rig = Rig(place / "state")
        rig.be_enrolled()
        rig.rotate()
        rig.close()
        (place / "config.yaml").write_text(_CONFIGURATION.replace("PLACE", name))
        look(load(parse(["--config", f"{name}/config.yaml", "status"]).config))
