"""A gateway that an attacker hands bundles to, and what must still be so afterwards."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from agent.config.reader import parse
from agent.errors import BundleError, RefusedError
from agent.sandbox.account.authority import Authority
from agent.trust import install
from agent.trust.install import Receiver
from support.publishing import signing
from support.simulated.outside import START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from agent.config.values import Config
    from agent.operations.wiring import Parts
    from support.publishing.signing import Publisher
    from support.simulated.rig import Rig

DAY = timedelta(days=1)
DROP = "bundle.tar"
OTHER = Authority("Sandbox endpoint root B", START)
THIRD = Authority("Sandbox endpoint root C", START)


@dataclass
class Target:
    """A gateway that is enrolled, its inbox, and the publisher that it trusts."""

    rig: Rig
    config: Config
    publisher: Publisher

    @property
    def union(self) -> bytes:
        """Anchors that hold the root in use and another."""
        return self.rig.root.pem + OTHER.pem

    def receive(self, drop: str = DROP) -> dict[str, Any]:
        """Let the agent take a drop in, and return what the pipeline is told."""
        message = ""
        try:
            Receiver(self.config, cast("Parts", self.rig)).take_drop(drop)
        except (BundleError, RefusedError) as error:
            message = str(error)
        told = self.outcome(drop)
        assert message in {"", told["message"]}
        return told

    def outcome(self, drop: str = DROP) -> dict[str, Any]:
        """Return what stands beside a drop."""
        told: dict[str, Any] = json.loads((self.config.inbox / f"{drop}.outcome.json").read_bytes())
        return told

    def drop(self, files: Mapping[str, bytes] | bytes) -> dict[str, Any]:
        """Drop a bundle, let the agent take it in, and return what the pipeline is told."""
        data = files if isinstance(files, bytes) else signing.archive(files)
        (self.config.inbox / DROP).write_bytes(data)
        return self.receive()

    def install(self, anchors: bytes) -> dict[str, Any]:
        """Publish anchors, drop them, carry the change to its end, and return what the pipeline is told of that."""
        assert self.drop(self.publisher.publish(anchors))["outcome"] == "in-progress"
        return self.follow()

    def follow(self) -> dict[str, Any]:
        """Carry the change on to its end, and return what the pipeline is told of that."""
        self.rig.follow(patience=timedelta(days=3))
        install.conclude(self.config, self.rig.store.history())
        return self.outcome()

    @property
    def in_use(self) -> frozenset[str]:
        """The anchors in use."""
        found = self.rig.sets.usable()
        assert found is not None
        return found.trust.fingerprints

    @property
    def disk(self) -> dict[str, bytes]:
        """Everything in the state directory but what is known of signers."""
        root, found = self.config.state_dir, {}
        for path in root.rglob("*"):
            if path.parts[len(root.parts)] != "trust" and not path.is_dir():
                found[str(path)] = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        return found


def make(tmp_path: Path, rig: Rig, publisher: Publisher) -> Target:
    """Return a gateway that trusts a publisher."""
    rig.be_enrolled()
    (tmp_path / "root.json").write_bytes(publisher.first_root)
    (tmp_path / "inbox").mkdir()
    text = (
        f"endpoint: a-ats.iot.eu-west-1.amazonaws.com\nstate_dir: {rig.path}\n"
        f"trust: {{root: {tmp_path}/root.json, inbox: {tmp_path}/inbox, compatible: gw-1}}\n"
    )
    made = Target(rig, parse(text, tmp_path / "config.yaml"), publisher)
    assert made.drop(publisher.publish(rig.root.pem))["outcome"] == "unchanged"
    return made


def refused(target: Target, attack: Mapping[str, bytes] | bytes, code: str, *, outcome: str = "refused") -> None:
    """Drop an attack, and see that it is told with its code and has changed nothing."""
    before = target.in_use, target.disk
    told = target.drop(attack)
    assert (told["outcome"], told["code"]) == (outcome, code)
    assert told["message"].endswith(".")
    unharmed(target, *before)
    assert (target.config.inbox / DROP).exists() == (outcome == "waiting")


def unharmed(target: Target, in_use: frozenset[str], disk: Mapping[str, bytes]) -> None:
    """See that anchors and files are what they were, and that the gateway still connects."""
    assert target.in_use == in_use
    assert target.disk == disk
    assert target.rig.connects()
    assert target.rig.at_rest


# -- B1 to B7: what is signed, by whom, and when -----------------------------------------------------------------------


def target_names(target: Target) -> list[str]:
    """Return the names of the target files."""
    return [path for path in target.publisher.files if path.startswith("targets/")]


# -- B10 to B13: what is in it, and who put it there -------------------------------------------------------------------


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Do something over and over in another thread until the block has ended."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
