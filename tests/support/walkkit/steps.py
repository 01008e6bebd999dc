"""The language of the stories: what may happen to a gateway. A step is a value; it reads as it is told."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from agent.sandbox.account.policies import CLAIM
from agent.sandbox.cloud import Status
from support.walkkit import pairs
from support.walkkit.orders import Blow, Victim, await_record, type_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from support.walkkit.pairs import Pair
    from support.walkkit.scene import Scene

STICK = "STICK"  # in an order: the directory of the stick


@dataclass(frozen=True)
class Step:
    """Something that happens.

    Attributes:
        text: How it reads.
        do: Lets it happen, and returns what came of it.
    """

    text: str
    do: Callable[[Scene], str]

    def __str__(self) -> str:
        """Return how it reads."""
        return self.text


def carry_out(steps: Iterable[Step], scene: Scene) -> None:
    """Let some steps happen, each of which leaves a line in the story."""
    for step in steps:
        try:
            came = step.do(scene)
        except OSError as error:
            came = f"not possible: {error}"
        scene.tell(f"{step}{f' -> {came}' if came else ''}")
        scene.keep_secrets()


# -- a person --------------------------------------------------------------------------------------------------------


def order(*words: str, blow: Blow | None = None, times: int = 1) -> Step:
    """Type a command, at once in several terminals if said, and cut it off."""
    text = f"iot-cert {' '.join(words)}"
    text += f" in {times} terminals" if times > 1 else ""
    text += f", {blow}" if blow else ""

    def do(scene: Scene) -> str:
        stick, signer = scene.directory / "stick", scene.directory / "signer"
        places = {STICK: str(stick), "BUNDLE": str(signer / "bundle.tar")}
        return type_in(scene, *(places.get(word, word) for word in words), blow=blow, times=times)

    return Step(text, do)


def insist(*words: str, tries: int = 3, pause: float = 10.0) -> Step:
    """Type a command, and again some seconds later as long as it is refused because something else comes first."""
    once = order(*words)

    def do(scene: Scene) -> str:
        came: list[str] = []
        while not came or (came[-1].startswith("4 ") and len(came) < tries):
            if came:
                scene.rest(pause)
            came.append(once.do(scene))
        return "; ".join(came)

    return Step(f"{once}, up to {tries} times", do)


class Brought(StrEnum):
    """What a person brings along."""

    GOOD = "a good pair"
    INACTIVE = "a pair that is inactive in the cloud"
    REVOKED = "a pair that is revoked in the cloud"
    MISFIT = "a certificate with a key that does not fit"


def bring(scene: Scene, what: Brought) -> Pair:
    """Make what a person brings along."""
    status = {Brought.INACTIVE: Status.INACTIVE, Brought.REVOKED: Status.REVOKED}.get(what, Status.ACTIVE)
    pair = pairs.new_pair(scene.gateway.cloud, status)
    scene.brought.append(pair.certificate_id)
    if what is Brought.MISFIT:
        return pairs.Pair(
            key_pem=pairs.foreign_key(), certificate_pem=pair.certificate_pem, certificate_id=pair.certificate_id
        )
    return pair


def stick(what: Brought) -> Step:
    """Have a stick with nothing else on it."""

    def do(scene: Scene) -> str:
        place = scene.directory / "stick"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        pair = bring(scene, what)
        pair.put_into(place)
        return pair.certificate_id[:12]

    return Step(f"a stick with {what}", do)


def by_hand(link: str, what: Brought) -> Step:
    """Copy a pair over the one in use, or over the previous one."""

    def do(scene: Scene) -> str:
        found = scene.linked(link)
        if found is None:
            return "there is none"
        pair = bring(scene, what)
        pair.put_into(found.directory)
        return f"{pair.certificate_id[:12]} in {found.directory.name}"

    return Step(f"{what} is copied into {link} by hand", do)


def claim_files(*, there: bool) -> Step:
    """Remove the claim's files, or put them back."""

    def do(scene: Scene) -> str:
        claim = scene.gateway.cloud.claim
        for name, data in (("key.pem", claim.key_pem), ("certificate.pem", claim.certificate_pem)):
            path = scene.directory / "claim" / name
            path.unlink(missing_ok=True)
            if there:
                path.write_bytes(data)
                path.chmod(0o600)
        return ""

    return Step(f"the claim's files are {'put back' if there else 'removed'}", do)


# -- the daemon ------------------------------------------------------------------------------------------------------


def start() -> Step:
    """Start the daemon."""
    return Step("the daemon is started", lambda scene: scene.keeper.start())


def stop() -> Step:
    """Stop it, as systemd does."""
    return Step("the daemon is stopped", lambda scene: scene.keeper.stop())


def kill(victim: Victim) -> Step:
    """End the daemon or its worker without a word."""

    def do(scene: Scene) -> str:
        return scene.keeper.kill_worker() if victim is Victim.WORKER else scene.keeper.kill()

    return Step(f"SIGKILL to {victim}", do)


def short_starts(times: int, seconds: float) -> Step:
    """Start the daemon again and again; each start ends at the first record that it writes, or after some seconds."""

    def do(scene: Scene) -> str:
        scene.keeper.kill()
        for _ in range(times):
            scene.keeper.start()
            await_record(scene.state, 1, seconds, scene.daemon.process)
            scene.keeper.kill_worker()
            scene.keeper.kill()
        return ""

    return Step(f"{times} starts of the daemon that end at their first record, or after {seconds:g} s", do)


def wait(seconds: float) -> Step:
    """Let time pass."""

    def do(scene: Scene) -> str:
        scene.rest(seconds)
        return "connected" if scene.connected else ""

    return Step(f"{seconds:.1f} s pass", do)


def until_connected() -> Step:
    """Wait until the daemon is connected."""

    def do(scene: Scene) -> str:
        scene.keeper.start()
        scene.daemon.until_up()
        return f"with {scene.session[:12]}"

    return Step("the daemon connects", do)


def until_phase(*phases: str) -> Step:
    """Wait until the change in flight is in one of some phases."""

    def do(scene: Scene) -> str:
        return str(scene.daemon.until_phase(*phases)["phase"])

    return Step(f"the change comes to {' or '.join(phases)}", do)


def until_waiting(*codes: str) -> Step:
    """Wait until the change in flight has met a failure with one of some codes, and waits."""

    def do(scene: Scene) -> str:
        def failure() -> str:
            change = scene.daemon.published().get("change") or {}
            return str((change.get("failure") or {}).get("code", ""))

        scene.daemon.until(lambda: failure() in codes, f"failure {codes}")
        return failure()

    return Step(f"the change waits after {' or '.join(codes)}", do)


# -- the cloud -------------------------------------------------------------------------------------------------------


class Whose(StrEnum):
    """Whose certificate."""

    CURRENT = "current"
    PREVIOUS = "previous"
    CLAIM = "the claim"
    ALL = "all"


def status(whose: Whose, state: Status) -> Step:
    """Give certificates a state in the registry, and cut their connections."""

    def do(scene: Scene) -> str:
        chosen = certificates(scene, whose)
        for certificate_id in chosen:
            set_status(scene, certificate_id, state)
        return " ".join(item[:12] for item in chosen) or "there is none"

    return Step(f"the certificate of {whose} is {state}", do)


def certificates(scene: Scene, whose: Whose) -> list[str]:
    """Return whose certificates there are in the registry."""
    registry = scene.gateway.cloud.registry
    claims = [item.certificate_id for item in registry.values() if CLAIM in item.policies]
    match whose:
        case Whose.CLAIM:
            return claims
        case Whose.ALL:
            return [item.certificate_id for item in registry.values() if item.thing_name] + claims
        case _:
            found = scene.linked(whose)
            return [found.certificate_id] if found and found.certificate_id in registry else []


def set_status(scene: Scene, certificate_id: str, state: Status) -> None:
    """Give a certificate a state in the registry, and cut its connections."""
    scene.gateway.cloud.set_status(certificate_id, state)
    if state is not Status.ACTIVE:
        scene.gateway.service.disconnect(certificate_id)


def console(text: str) -> Step:
    """Give an order to the sandbox, such as ``fault create throttle always`` or ``server other-root``."""
    return Step(f"sandbox: {text}", lambda scene: scene.gateway.order(text) and "")


def away(how: str) -> Step:
    """Let the endpoint be away: ``down``, or something in its place is ``rude`` or ``silent``."""

    def do(scene: Scene) -> str:
        if how == "down":
            scene.back()
            scene.gateway.service.take_down()
        else:
            scene.stand_in(silent=how == "silent")
        return ""

    texts = {"down": "refuses connections", "rude": "hangs up on all", "silent": "takes connections and says nothing"}
    return Step(f"the endpoint {texts[how]}", do)


def calm() -> Step:
    """Let cloud, network and disk behave."""

    def do(scene: Scene) -> str:
        scene.calm()
        return ""

    return Step("cloud, network and disk behave", do)
