from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from agent.config.values import ClaimConfig, Config, EnrollmentConfig, NoticesConfig, TrustConfig, WatchConfig
from agent.core.aws.endpoints import Proxy
from agent.operations.owners_eyes import hidden, why_notices_not_run
from support.shorthand import planted
from support.suite import campaigns

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to see more than another user")
OWNER = 12345
NAMES = ("config.yaml", "anchors.pem", "claim.pem", "claim.key", "watched", "tell", "password")


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory that other users may pass through; pytest's own lies in one of root's."""
    with TemporaryDirectory(prefix="iot-cert-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def config(place: Path) -> Config:
    """A configuration whose files all may read."""
    for name in NAMES:
        (place / name).write_text("something")
        (place / name).chmod(0o644)
    state = place / "state"
    state.mkdir()
    os.chown(state, OWNER, OWNER)
    claim = ClaimConfig(certificate=place / "claim.pem", key=place / "claim.key")
    return Config(
        path=place / "config.yaml",
        endpoint="localhost",
        state_dir=state,
        trust=TrustConfig(anchors=place / "anchors.pem"),
        enrollment=EnrollmentConfig(template="a", claim=claim),
        watch=(WatchConfig(path=place / "watched"),),
        proxy=Proxy(host="localhost", port=1, user="u", password_file=place / "password"),
        notices=NoticesConfig(command=(f"{place}/tell",)),
    )


def test_what_the_agent_may_read_is_not_told(config: Config) -> None:
    """Nor what is not there, which is another complaint."""
    (config.state_dir.parent / "watched").unlink()
    assert hidden(config) == ()


@pytest.mark.parametrize("name", NAMES)
def test_what_root_alone_may_read_is_told(config: Config, name: str) -> None:
    """Each file that the configuration names, and the configuration itself."""
    (config.state_dir.parent / name).chmod(0o600)
    (told,) = hidden(config)
    assert told.startswith(f"{config.state_dir.parent / name} may be read by root and not by the user")
    assert str(OWNER) in told


def test_a_directory_on_the_way_counts(config: Config) -> None:
    """A file that all may read lies in a directory that root alone may enter."""
    config.state_dir.parent.chmod(0o700)
    assert len(hidden(config)) == len(NAMES)


def test_roots_own_state_directory_hides_nothing(config: Config) -> None:
    """The agent works as root then."""
    (config.state_dir.parent / "watched").chmod(0o600)
    os.chown(config.state_dir, 0, 0)
    assert hidden(config) == ()


def test_the_claim_of_an_enrolled_gateway_does_not_matter(config: Config) -> None:
    """No certificate is asked for with it any more."""
    (config.state_dir.parent / "claim.key").chmod(0o600)
    (config.state_dir / "current").symlink_to("generations/000001")
    assert hidden(config) == ()


def test_a_command_that_the_agents_user_would_not_run_is_told(config: Config, place: Path) -> None:
    """One that root or that user may change is run; else another user decides what it does."""
    command = place / "tell"
    assert why_notices_not_run(config) == f"{command} is not executable: `sudo chmod +x {command}`."
    command.chmod(0o755)
    assert why_notices_not_run(config) == ""
    os.chown(command, OWNER, OWNER)
    assert why_notices_not_run(config) == ""
    os.chown(command, OWNER + 1, OWNER)
    assert (
        why_notices_not_run(config)
        == f"{command} belongs to user {OWNER + 1} and not to root, so {command.name} is not run."
    )
    assert why_notices_not_run(replace(config, notices=None)) == ""


@pytest.mark.parametrize("kind", campaigns.take(sorted(planted.KINDS), 3))
def test_what_stands_in_place_of_the_runtime_directory_is_told(config: Config, kind: str) -> None:
    """Also one that the agent's user may not write in, as its daemon does not start then."""
    config = replace(config, runtime_dir=config.state_dir.parent / "run")
    assert hidden(config) == (), "it is made where there is none"
    with planted.at(config.runtime_dir, kind):
        below = hidden(replace(config, runtime_dir=config.runtime_dir / "below" / "it"))
        assert "where a directory is expected: move it" in str(below)
        (told,) = hidden(config)
        assert told.startswith(f"runtime_dir {config.runtime_dir}")
        wanted = "cannot be written by the agent's user"
        assert (wanted if kind.startswith("directory") else "where a directory is expected: move it") in told


@pytest.mark.parametrize("below", ["n" * 256, f"{'n' * 256}/below/it", "/".join(["n" * 255] * 17)])
def test_a_name_of_the_runtime_directory_that_no_file_system_takes_is_told(config: Config, below: str) -> None:
    """Of it, of a directory above it, or of the way as a whole; the longest that is taken is right."""
    path = config.state_dir.parent / below
    (told,) = hidden(replace(config, runtime_dir=path))
    assert told == f"runtime_dir {path} cannot be used: File name too long: choose a shorter one."
    assert hidden(replace(config, runtime_dir=config.state_dir.parent / ("n" * 255))) == ()


def test_a_runtime_directory_of_the_agents_own_is_right(config: Config) -> None:
    """And one of root's where that is whom the agent works as; not on a disk that is mounted read-only."""
    config = replace(config, runtime_dir=config.state_dir.parent / "run")
    config.runtime_dir.mkdir(mode=0o755)
    for user in (OWNER, 0):
        os.chown(config.state_dir, user, user)
        os.chown(config.runtime_dir, user, user)
        assert hidden(config) == ()
        with planted.read_only(config.runtime_dir):
            assert "cannot be written by the agent's user" in str(hidden(config))
