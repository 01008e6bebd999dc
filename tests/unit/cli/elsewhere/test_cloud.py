from __future__ import annotations

import subprocess
import sys

import pytest

from agent.cli.command_line.parser import parse
from agent.cli.elsewhere import cloud
from agent.cli.writing.output import Output
from agent.errors import AgentError

WITHOUT = """
import sys
sys.modules[{name!r}] = None
from agent import cli
sys.exit(cli.main(["cloud", "devices"]))
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [("boto3", "with the extra `cloud`"), ("agent.fleet", "not part of a gateway's package")],
)
def test_without_what_it_needs_one_sentence_says_what_to_install(name: str, told: str) -> None:
    """On a gateway neither is there."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(name=name)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert told in done.stderr
    assert "defect" not in done.stderr


def test_no_other_verb_imports_any_of_it() -> None:
    """A gateway's command stays as light as it was."""
    script = (
        "import sys\nfrom agent import cli\ncli.main(['--config', '/none', 'status'])\n"
        "cli.main(['--config', '/none', 'history'])\n"
        "assert not {name for name in sys.modules if name.startswith(('boto', 'agent.fleet', 'agent.backend'))}"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_credentials_and_region_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's first try."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(AgentError, match="No region is named"):
        cloud.carry_out(parse(["cloud", "devices"]), Output(as_json=False))
    with pytest.raises(AgentError, match="no AWS credentials"):
        cloud.carry_out(parse(["cloud", "devices", "--region", "eu-west-1"]), Output(as_json=False))
