"""The verb `import` before anything is connected to: what is read, what is refused, which anchors go with a set."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from agent import cli
from agent.cli.changing import importing, submit
from agent.cli.command_line.parser import parse
from agent.cli.writing.output import Output
from agent.config.reader import load
from agent.core.trust.updates import is_newer
from agent.core.values import BY_HAND
from agent.crypto import import_files, x509
from agent.errors import MaterialError
from agent.operations.wiring import open_parts
from agent.sandbox.account.authority import Authority, fingerprint, name
from agent.store.store import Store
from support.aws.rsa_keys import known_key

if TYPE_CHECKING:
    from pathlib import Path

    from agent.core.change.lifecycle import ChangeRecord
    from agent.core.values import TrustBundle

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
BAKED, OTHER = Authority("Baked root", NOW), Authority("Other root", NOW)
DEVICES = Authority("Devices", NOW)
PASSWORD = b"canary of a password"


class Technician:
    """A technician's directory, with a configuration whose endpoint is dead."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.stick = path / "stick"
        self.stick.mkdir()
        (path / "roots.pem").write_bytes(BAKED.pem)
        self.config.write_text(
            f"endpoint: localhost\nport: 1\nstate_dir: {path}/state\nruntime_dir: {path}/run\nvouched_clock: true\n"
            f"trust: {{anchors: {path}/roots.pem}}\nrotation: {{template: gateway-rotation, probation: 1h}}\n"
        )

    def lay(
        self, *roots: Authority, ends: timedelta = 365 * DAY, password: bytes | None = None, bits: int | None = None
    ) -> str:
        """Lay a set onto the stick, with roots, and return its certificate's id; of an RSA key of `bits`, if given."""
        key = ec.generate_private_key(ec.SECP256R1()) if bits is None else known_key(bits)
        certificate = DEVICES.issue_client(name("gw"), key.public_key(), NOW - 9 * DAY, NOW + ends)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        if password is not None:
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
        (self.stick / "key").write_bytes(pem)
        (self.stick / "certificate").write_bytes(certificate.public_bytes(Encoding.PEM))
        self.lay_roots(*roots)
        return fingerprint(certificate)

    def lay_roots(self, *roots: Authority) -> None:
        """Lay roots onto it."""
        for number, root in enumerate(roots):
            (self.stick / f"root{number}").write_bytes(root.pem)

    def run(self, *arguments: str) -> int:
        """Run the verb."""
        return cli.main(["--config", str(self.config), "import", "--from", str(self.stick), *arguments])

    def use(self, *roots: Authority) -> str:
        """Have a set in use that was never proven; nothing is connected to for that."""
        certificate_id = self.lay(*roots)
        assert self.run("--thing", "gw-1", "--unproven", "--no-wait", "--replace-anchors") == 0
        with Store(self.path / "state") as store:
            store.lock()
            change = store.change()
            assert change is not None
            store.finish(change)
        for path in self.stick.iterdir():
            path.unlink()
        return certificate_id

    def trust(self, *roots: Authority, replaces: bool = False) -> TrustBundle:
        """Return the anchors that would go with a set."""
        brought = import_files.Brought(credential=None, anchors_pem=b"".join(root.pem for root in roots))
        config = load(self.config)
        with open_parts(config, Output(as_json=True), create=True) as parts:
            return importing._trust(parts, brought, replaces=replaces)

    @property
    def planned(self) -> ChangeRecord | None:
        """The change in flight."""
        if not (self.path / "state").exists():
            return None
        with Store(self.path / "state") as store:
            return store.change()


@pytest.fixture
def desk(tmp_path: Path) -> Technician:
    """Return one on which nothing lies."""
    return Technician(tmp_path)


def of(*roots: Authority) -> list[str]:
    """Return fingerprints."""
    return [fingerprint(root.certificate) for root in roots]


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_options_have_plain_defaults() -> None:
    """A set is proven, anchors are added, the thing is the one that is known."""
    found = parse(["import", "--from", "a", "b"])
    assert [str(path) for path in found.source] == ["a", "b"]
    assert (found.unproven, found.replace_anchors, found.thing, found.password_file) == (False, False, None, None)


def test_something_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is looked for by itself."""
    with pytest.raises(SystemExit) as caught:
        parse(["import"])
    assert caught.value.code == 2
    assert "--from" in capsys.readouterr().err


# -- which anchors -----------------------------------------------------------------------------------------------------


def test_before_there_is_a_set_the_baked_anchors_are_added_to(desk: Technician) -> None:
    """They are what a first set would have had; each is there once."""
    assert [anchor.sha256 for anchor in desk.trust(OTHER, BAKED).anchors] == of(BAKED, OTHER)
    assert [anchor.sha256 for anchor in desk.trust().anchors] == of(BAKED)


def test_anchors_that_replace_the_others_stand_alone(desk: Technician) -> None:
    """Without any of their own there is nothing to replace them by."""
    assert [anchor.sha256 for anchor in desk.trust(OTHER, replaces=True).anchors] == of(OTHER)
    assert [anchor.sha256 for anchor in desk.trust(replaces=True).anchors] == of(BAKED)


@pytest.mark.root
def test_the_anchors_in_use_are_added_to_and_the_baked_ones_do_not_come_back(desk: Technician) -> None:
    """What is added makes them a person's; what was there already changes nothing."""
    desk.use(OTHER)
    third = Authority("Third root", NOW)
    found, same = desk.trust(third, OTHER), desk.trust(OTHER)
    assert [anchor.sha256 for anchor in found.anchors] == of(OTHER, third)
    config = load(desk.config)
    with open_parts(config, Output(as_json=True)) as parts:
        current = parts.change.sets.usable()
    assert current is not None
    assert found.provenance == BY_HAND
    assert same == current.trust


def test_no_baked_copy_takes_back_what_a_person_brought(desk: Technician) -> None:
    """The copy on the gateway says no date, as an operator's own file does; at the next start it would be newer."""
    baked = desk.trust()
    for brought in (desk.trust(OTHER), desk.trust(OTHER, replaces=True)):
        assert brought.provenance == BY_HAND
        assert not is_newer(baked, brought, ())


def test_what_is_to_be_said_against_an_anchor_is_said(desk: Technician, capsys: pytest.CaptureFixture[str]) -> None:
    """As `trust check` does, and as `check` would once it is in use."""
    over = Authority("Root that is over", NOW - 9000 * DAY, not_after=NOW - DAY)
    desk.lay(over, Authority("Root that lasts", NOW))
    desk.run("--thing", "gw-1", "--unproven", "--no-wait")
    said = capsys.readouterr().out
    assert f"Root that is over expired on {NOW - DAY:%Y-%m-%d}. Ship its successor, then remove it." in said
    assert "Root that lasts" not in said


def test_what_is_kept_is_a_sound_bundle(desk: Technician) -> None:
    """It reads back as the same."""
    found = desk.trust(OTHER)
    assert x509.read_bundle(found.pem).anchors == found.anchors


def test_anchors_that_replace_the_baked_ones_do_not_need_them(desk: Technician) -> None:
    """A gateway whose baked copy is gone is one that needs it; where there is nothing else, none is to be replaced."""
    (desk.path / "roots.pem").unlink()
    for replaces in (True, False):
        assert [anchor.sha256 for anchor in desk.trust(OTHER, replaces=replaces).anchors] == of(OTHER)
    with pytest.raises(MaterialError):
        desk.trust()


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "ends", "code", "said"),
    [
        ((), DAY, 2, "It is not known which thing this certificate is for."),
        (("--thing", "gw-1"), -DAY, 4, "The certificate expired on "),
    ],
)
def test_what_would_never_work_is_refused(
    desk: Technician,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    ends: timedelta,
    code: int,
    said: str,
) -> None:
    """With a remedy, before a generation is written; what the clock may change is no mistake of the caller."""
    desk.lay(ends=ends)
    assert desk.run(*arguments, "--json") == code
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["event"], told["exit"]) == ("error", code)
    assert told["message"].startswith(said)
    assert told["hint"]
    assert desk.planned is None
    assert not [*(desk.path / "state" / "generations").iterdir()]


def test_nothing_is_made_for_what_cannot_be_read(desk: Technician, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even the state directory."""
    assert desk.run("--thing", "gw-1") == 2
    assert "What was brought cannot be used: there is neither a private key nor an anchor" in capsys.readouterr().err
    assert not (desk.path / "state").exists()


def test_anchors_alone_make_no_state(desk: Technician, capsys: pytest.CaptureFixture[str]) -> None:
    """There is no set to give them to."""
    desk.lay_roots(OTHER)
    assert desk.run() == 4
    assert "iot-cert enroll" in capsys.readouterr().err
    assert not (desk.path / "state").exists()


@pytest.mark.parametrize(("given", "code"), [(PASSWORD + b"\r\nmore", 5), (b"canary", 2), (b"", 2), (None, 2)])
def test_the_first_line_of_a_file_is_the_password(
    desk: Technician, capsys: pytest.CaptureFixture[str], given: bytes | None, code: int
) -> None:
    """With it the set is kept for when there is a network; without, nothing is; it is never shown."""
    desk.lay(password=PASSWORD)
    arguments = ["--thing", "gw-1", "--wait", "0"]
    if given is not None:
        (desk.path / "password").write_bytes(given)
        arguments += ["--password-file", str(desk.path / "password")]
    assert desk.run(*arguments) == code
    assert (desk.planned is not None) == (code == 5)
    told = capsys.readouterr()
    assert "canary" not in told.out + told.err


@pytest.mark.parametrize("thing", ["gw/#", "x" * 129, "gw 1", "+"])
def test_no_thing_has_such_a_name(desk: Technician, thing: str) -> None:
    """The configuration refuses it as well; a name becomes part of topics, and of a manifest with its limits."""
    desk.lay()
    try:
        code = desk.run("--thing", thing, "--wait", "0")
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code in {2, 4}
    assert desk.planned is None


def test_a_store_that_stays_busy_is_told(
    desk: Technician, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After some patience with a worker of the daemon's, which soon lets go."""
    desk.lay()
    assert desk.run("--thing", "gw-1", "--wait", "0") == 5
    monkeypatch.setattr(submit, "PATIENCE", 0.3)
    with Store(desk.path / "state") as store:
        store.lock()
        assert desk.run("--thing", "gw-1") == 4
    assert capsys.readouterr().err


# -- what is planned ---------------------------------------------------------------------------------------------------


def test_without_network_the_change_is_kept(desk: Technician) -> None:
    """It is proven before it is used, whenever that will be; typed again, the command goes on with it."""
    certificate_id = desk.lay(OTHER)
    assert desk.run("--thing", "gw-1", "--wait", "0", "--reason", "a visit") == 5
    found = desk.planned
    assert found is not None
    assert (found.kind, found.phase, found.reason, found.unproven) == ("import", "prepared", "a visit", False)
    with Store(desk.path / "state") as store:
        generation = store.generation(1)
        assert store.current() is None
    assert generation.manifest.certificate_id == certificate_id
    assert generation.manifest.thing_name == "gw-1"
    assert [anchor.sha256 for anchor in generation.trust.anchors] == of(BAKED, OTHER)
    assert desk.run("--thing", "gw-1", "--wait", "0") == 5
    assert desk.planned is not None
    assert desk.planned.id == found.id


def test_another_set_goes_before_one_that_waits(desk: Technician) -> None:
    """The person who brings it knows more; the change before is ended, and its set put aside."""
    desk.lay(OTHER)
    assert desk.run("--thing", "gw-1", "--wait", "0") == 5
    first = desk.planned
    assert first is not None
    second = desk.lay(OTHER)
    assert desk.run("--thing", "gw-1", "--wait", "0") == 5

    assert desk.planned is not None
    assert (desk.planned.generation, desk.planned.brings) == (2, second)
    with Store(desk.path / "state") as store:
        assert [(record.id, record.phase) for record in store.history()] == [(first.id, "rejected")]
        assert store.numbers().rejected == (1,)


@pytest.mark.root
def test_root_may_use_it_at_once(desk: Technician, capsys: pytest.CaptureFixture[str]) -> None:
    """An expired one too, since the clock may be what is wrong; the same again is nothing, once that has ended."""
    desk.lay(ends=-DAY)
    assert desk.run("--thing", "gw-1", "--unproven", "--no-wait", "--json") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["event"], told["change"]["unproven"], told["current"]) == ("outcome", True, 1)
    assert desk.planned is not None
    assert (desk.planned.phase, desk.planned.unproven) == ("deployed", True)


@pytest.mark.root
def test_the_certificate_in_use_is_told_from_a_new_one(desk: Technician, capsys: pytest.CaptureFixture[str]) -> None:
    """In words, and for programs with an outcome."""
    desk.use(OTHER)
    with Store(desk.path / "state") as store:
        credential = store.generation(1).credential
    (desk.stick / "all").write_bytes(credential.key_pem + credential.certificate_pem)
    capsys.readouterr()
    assert desk.run() == 0
    assert capsys.readouterr().out == "This certificate is in use already.\n"
    assert desk.run("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["exit"]) == ("unchanged", 0)
    assert desk.planned is None


@pytest.mark.parametrize(("bits", "said"), [(1024, 1), (2048, 0), (None, 0)])
def test_a_key_that_the_cloud_takes_of_no_gateway_is_said_so(
    desk: Technician, capsys: pytest.CaptureFixture[str], bits: int | None, said: int
) -> None:
    """The cloud's own refusal does not name the length."""
    desk.lay(bits=bits)

    desk.run("--thing", "gw-1", "--unproven", "--no-wait")

    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("The private key is RSA 1024, and AWS IoT Core takes RSA of 2048 bits and more.") == said
