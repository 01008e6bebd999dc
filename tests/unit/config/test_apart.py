from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.config.apart import load_apart
from agent.config.reader import load
from agent.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "config" / "config.yaml"
EVERY_KEY = Path(__file__).parents[2] / "data" / "0.1.0" / "config.yaml"


@pytest.mark.parametrize("path", [EXAMPLE, EVERY_KEY], ids=lambda path: path.parent.name)
def test_what_is_read_apart_is_what_is_read_here(path: Path) -> None:
    """To the last field, time zones and spans included."""
    assert load_apart(path) == load(path)


@pytest.mark.parametrize("text", ["endpoint: [\n", "endpiont: x.example\n", ""])
def test_complaints_come_through_as_they_are(tmp_path: Path, text: str) -> None:
    """With every line of them, and with the hint."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as here:
        load(path)
    with pytest.raises(ConfigError) as apart:
        load_apart(path)
    assert (str(apart.value), apart.value.hint) == (str(here.value), here.value.hint)


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    """As by the command."""
    with pytest.raises(ConfigError, match="gone"):
        load_apart(tmp_path / "gone.yaml")


@pytest.mark.parametrize("interpreter", ["/bin/false", "/bin/true", "/nonexistent"])
def test_where_no_child_can_be_had_the_file_is_read_here(monkeypatch: pytest.MonkeyPatch, interpreter: str) -> None:
    """A daemon that cannot be told its configuration is worth less than one that is a little larger."""
    monkeypatch.setattr(sys, "executable", interpreter)
    assert load_apart(EXAMPLE) == load(EXAMPLE)


def test_a_daemon_carries_neither_yaml_nor_the_table_of_keys() -> None:
    """What reading took stays with the child."""
    script = "import sys; from agent.system import late; late.put_off(); from pathlib import Path; "
    script += "from agent.config.apart import load_apart; from agent.daemon import app"
    script += f"; load_apart(Path({str(EXAMPLE)!r})); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "agent.daemon.app" in loaded
    assert not loaded & {
        "yaml",
        "pickle",
        "hashlib",
        "ipaddress",
        "subprocess",
        "agent.config.reader",
        "agent.config.schema",
        "agent.config.kinds",
    }
