"""The two verbs of a pipeline, on a machine that is no gateway: what they refuse, what they write and what they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from securesystemslib.signer import SIGNER_FOR_URI_SCHEME, CryptoSigner, Signer
from tuf.api.metadata import Metadata

from agent.crypto.x509 import read_bundle
from agent.trust.archives import read_archive
from support.unit.cli.pipeline import AMAZON, NOW, OWN, ROOTS, WHOLE, TypedPipeline

if TYPE_CHECKING:
    from pathlib import Path

AT = NOW.isoformat()
WHY = "a custom domain of ours"


# -- publish: what is refused of a bundle ------------------------------------------------------------------------------


def test_a_sound_bundle_is_published_without_any_configuration(pipeline: TypedPipeline) -> None:
    """It says where, what, and how gateways come to trust it."""
    ran = pipeline.publish()
    assert ran.out.splitlines() == [
        f"Published in {pipeline.repository}: root 1, targets 1, snapshot 1, timestamp 1.",
        f"Gateways trust it once {pipeline.repository}/metadata/1.root.json lies on them and `trust.root` names it.",
    ]
    assert (ran.err, pipeline.read().version) == ("", 1)


def test_the_way_to_be_trusted_is_told_once(pipeline: TypedPipeline) -> None:
    """The root is the same from then on."""
    pipeline.publish()
    assert pipeline.publish().out.splitlines() == [
        f"Published in {pipeline.repository}: root 1, targets 1, snapshot 1, timestamp 2."
    ]


def test_the_bundle_is_written_as_gateways_write_it(pipeline: TypedPipeline) -> None:
    """One block after the other, without comments, blank lines and foreign line ends."""
    pipeline.bundle(b"# Issued: 2026-11-01\r\n\r\n", WHOLE.replace(b"\n", b"\r\n"), b"\ntrailing words\n")
    pipeline.publish()
    data = pipeline.read().data
    assert data == read_bundle(WHOLE).pem
    assert data.count(b"-----BEGIN CERTIFICATE-----") == len(AMAZON)
    assert not {b"#", b"\r", b"w"} & {line[:1] for line in data.splitlines() if len(line) < 15}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 2),
        (b"no certificates here\n", 2),
        (WHOLE + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 4),
    ],
)
def test_a_bundle_with_errors_is_refused(pipeline: TypedPipeline, content: bytes, code: int) -> None:
    """It would be of no use to any gateway; a file without a certificate is another one than was meant."""
    pipeline.bundle(content)
    said = pipeline.refused(code=code)
    assert "The bundle is not published: " in said


def test_a_certificate_that_is_no_authority_is_refused(pipeline: TypedPipeline) -> None:
    """With its name and the remedy."""
    pipeline.bundle(WHOLE, _leaf())
    said = pipeline.refused()
    assert "is not a certificate authority" in said
    assert "Put in the root that signed it instead." in said


def _leaf() -> bytes:
    """Return a certificate that may not sign others."""
    private = Ed25519PrivateKey.generate()
    name = x509.Name.from_rfc4514_string("CN=server.example")
    builder = x509.CertificateBuilder(name, name, private.public_key(), 42, NOW, NOW + timedelta(days=9))
    made = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True).sign(private, None)
    return made.public_bytes(Encoding.PEM)


def test_a_private_key_in_the_bundle_is_refused(pipeline: TypedPipeline) -> None:
    """It would be published to everybody; nothing of it is shown."""
    secret = (pipeline.path / "online.pem").read_bytes()
    pipeline.bundle(WHOLE, secret)
    said = pipeline.refused()
    assert secret.splitlines()[1].decode() not in said


@pytest.mark.parametrize("missing", range(len(AMAZON)))
def test_a_bundle_without_one_of_amazons_roots_is_refused(pipeline: TypedPipeline, missing: int) -> None:
    """Unless the publisher says why; that is recorded where auditors look."""
    pipeline.bundle(*(path.read_bytes() for number, path in enumerate(AMAZON) if number != missing))
    said = pipeline.refused()
    assert "is missing; AWS IoT Core's ATS endpoints may chain to it at any time." in said
    assert "--without-amazon" in said
    pipeline.publish("--without-amazon", WHY)
    assert pipeline.custom()["withoutAmazon"] == WHY


def test_a_whole_bundle_says_nothing_about_missing_roots(pipeline: TypedPipeline) -> None:
    """There is nothing to excuse."""
    pipeline.publish()
    assert set(pipeline.custom()) == {"issued"}


def test_warnings_are_shown_and_do_not_stop_it(pipeline: TypedPipeline) -> None:
    """A root that is there twice is merely untidy."""
    pipeline.bundle(WHOLE, AMAZON[0].read_bytes())
    ran = pipeline.publish()
    assert "warning      duplicate      Amazon Root CA 1 stands in the store 2 times." in ran.out


@pytest.mark.parametrize("name", ["mozilla-2021-10-08.pem", "mozilla-2026-10-18.pem"])
def test_a_public_store_is_published(pipeline: TypedPipeline, name: str) -> None:
    """With all its anchors, in their order."""
    data = (ROOTS / name).read_bytes()
    pipeline.bundle(data)
    pipeline.publish()
    assert pipeline.read().data == read_bundle(data).pem


# -- publish: what comes out -------------------------------------------------------------------------------------------


def test_the_archive_is_what_a_gateway_needs(pipeline: TypedPipeline) -> None:
    """The files in force and every root; old bundles and old lists stay behind."""
    archive = pipeline.path / "bundle.tar"
    pipeline.publish()
    pipeline.bundle(WHOLE, OWN.pem)
    pipeline.publish("--renew", "root", "--archive", str(archive))
    files = dict(read_archive(archive.read_bytes()))
    assert sorted(name for name in files if name.startswith("metadata/")) == [
        "metadata/1.root.json", "metadata/2.root.json", "metadata/2.snapshot.json", "metadata/2.targets.json",
        "metadata/timestamp.json",
    ]  # fmt: skip
    assert len(files) == 6
    assert all(pipeline.files[name] == data for name, data in files.items())
    assert pipeline.read(files).data == read_bundle(WHOLE + OWN.pem).pem
    assert archive.stat().st_mode & 0o777 == 0o644


def test_signing_again_makes_a_whole_archive(pipeline: TypedPipeline) -> None:
    """The bundle is in it, although it was not named."""
    archive = pipeline.path / "fresh.tar"
    pipeline.publish()
    ran = pipeline.again("--archive", str(archive))
    assert ran.out.splitlines() == [f"Published in {pipeline.repository}: root 1, targets 1, snapshot 1, timestamp 2."]
    assert pipeline.read(dict(read_archive(archive.read_bytes()))).data == read_bundle(WHOLE).pem


def test_machines_read_the_versions(pipeline: TypedPipeline) -> None:
    """One object, and nothing about what is merely untidy."""
    pipeline.bundle(WHOLE, AMAZON[0].read_bytes())
    assert pipeline.publish("--json").events == [
        {"event": "published", "versions": dict.fromkeys(("root", "targets", "snapshot", "timestamp"), 1), "exit": 0}
    ]
    pipeline.bundle(OWN.pem)
    ran = pipeline.publish("--json", expect=4)
    assert [event["event"] for event in ran.events] == ["error"]
    assert ran.events[0]["exit"] == 4
    assert "--without-amazon" in ran.events[0]["hint"]


def test_the_same_input_makes_the_same_archive(pipeline: TypedPipeline, tmp_path: Path) -> None:
    """In another directory, too."""
    pipeline.publish("--time", AT, "--archive", str(tmp_path / "a.tar"))
    pipeline.repository.rename(tmp_path / "other")
    pipeline.publish("--time", AT, "--archive", str(tmp_path / "b.tar"))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_the_time_is_the_one_that_is_given(pipeline: TypedPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--time` before SOURCE_DATE_EPOCH before the clock; one without a zone is in UTC."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1800000000")
    pipeline.publish()
    assert pipeline.custom()["issued"] == "2027-01-15T08:00:00+00:00"
    pipeline.bundle(WHOLE, OWN.pem)
    pipeline.publish("--time", "2027-02-01T12:00:00+02:00")
    assert pipeline.custom(2)["issued"] == "2027-02-01T10:00:00+00:00"
    pipeline.bundle(OWN.pem, WHOLE)
    pipeline.publish("--time", "2027-02-02T12:00:00")
    assert pipeline.custom(3)["issued"] == "2027-02-02T12:00:00+00:00"


def test_without_a_time_it_is_now(pipeline: TypedPipeline) -> None:
    """To the second."""
    before = datetime.now(UTC).replace(microsecond=0)
    pipeline.publish()
    issued = datetime.fromisoformat(pipeline.custom()["issued"])
    assert before <= issued <= datetime.now(UTC)
    assert issued.microsecond == 0


@pytest.mark.parametrize("epoch", ["yesterday", "-5", "1e9", "9" * 12, "9" * 20])
def test_a_source_date_epoch_that_is_none_is_refused(
    pipeline: TypedPipeline, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    """Its specification says so; the time of day in its place would be no reproducible build."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    assert "SOURCE_DATE_EPOCH" in pipeline.refused(code=2)


def test_options_reach_what_is_signed(pipeline: TypedPipeline) -> None:
    """Products, another name, and how long signatures last."""
    pipeline.publish(
        "--compatible", "gw-1", "--compatible", "gw-2", "--expires", "timestamp=7d", "--time", AT, "--target",
        "factory/anchors.pem",
    )  # fmt: skip
    assert pipeline.read(target="factory/anchors.pem").compatible == ("gw-1", "gw-2")
    timestamp = Metadata[Any].from_bytes(pipeline.files["metadata/timestamp.json"]).signed
    assert timestamp.expires == NOW + timedelta(days=7)


def test_keys_are_replaced(pipeline: TypedPipeline) -> None:
    """The root's with the one before, which the command is told of; else nothing is published."""
    pipeline.publish()
    pipeline.key("new", 7)
    pipeline.keys = ["--key", f"root=file2:{pipeline.path}/new.pem", "--key", pipeline.online, "--replace-keys"]
    assert "The role root needs 1 signature and got 0; nothing was published." in pipeline.refused()
    ran = pipeline.publish("--old-root-key", f"file2:{pipeline.path}/root.pem", "--json")
    assert ran.events[-1]["versions"]["root"] == 2
    assert pipeline.read().version == 1


def test_two_signatures_for_the_root(pipeline: TypedPipeline) -> None:
    """A role may be named several times, with a key each."""
    pipeline.key("second", 7)
    second = ["--key", f"root=file2:{pipeline.path}/second.pem"]
    assert "The role root is to need 2 signatures and has 1 key." in pipeline.refused("--threshold", "root=2")
    pipeline.publish("--threshold", "root=2", *second)
    assert "needs 2 signatures and got 1" in pipeline.refused("--renew", "root")
    pipeline.publish("--renew", "root", *second)
    assert pipeline.read().version == 1


class Elsewhere(Signer):
    """A signer whose key is in no file."""

    def __init__(self, public: Any) -> None:
        self._public = public

    @property
    def public_key(self) -> Any:
        """Its public key."""
        return self._public

    @classmethod
    def from_priv_key_uri(cls, priv_key_uri: str, public_key: Any, secrets_handler: Any = None) -> Elsewhere:
        """Return one."""
        del priv_key_uri, secrets_handler
        return cls(public_key)

    def sign(self, payload: bytes) -> Any:
        """Sign."""
        return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([5]) * 32)).sign(payload)


@pytest.mark.parametrize("uri", ["elsewhere:key/1", "elsewhere:2?label=token"])
def test_a_key_that_is_in_no_file(pipeline: TypedPipeline, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """Its public part is named with its URI, which may hold an `=` as those of security modules do."""
    monkeypatch.setitem(SIGNER_FOR_URI_SCHEME, "elsewhere", Elsewhere)
    public = pipeline.path / "public.pem"
    public.write_bytes(pipeline.key("elsewhere", 5))
    pipeline.keys = ["--key", f"root,targets,snapshot,timestamp={uri}"]
    assert "--public-key URI=FILE" in pipeline.refused(code=2)
    pipeline.publish("--public-key", f"{uri}={public}")
    assert pipeline.read().version == 1


# -- publish: command lines that are wrong -----------------------------------------------------------------------------


WRONG = {
    "a role that is none": (["--key", "boss=file2:{path}/root.pem"], "There is no role 'boss'"),
    "a threshold for no role": (["--threshold", "boss=1"], "There is no role 'boss'"),
    "a role to renew": (["--renew", "boss"], "There is no role 'boss'"),
    "no number": (["--threshold", "root=two"], "A threshold is a number from 1 to 50, not 'two'"),
    "none": (["--threshold", "root=0"], "A threshold is a number from 1 to 50"),
    "too many": (["--threshold", "root=51"], "A threshold is a number from 1 to 50"),
    "no duration": (["--expires", "root=soon"], "A duration such as 90d is expected"),
    "no time at all": (["--expires", "root=0d"], "A duration such as 90d is expected"),
    "less than none": (["--expires", "root=-1d"], "A duration such as 90d is expected"),
    "longer than the calendar": (["--expires", "root=99999999d"], "A duration such as 90d is expected"),
    "no pair": (["--key", "root"], "NAME=VALUE is expected"),
    "no name": (["--key", "=file2:x"], "NAME=VALUE is expected"),
    "no value": (["--expires", "root="], "NAME=VALUE is expected"),
    "no instant": (["--time", "noon"], "a time such as 2026-11-22T12:00:00Z is expected"),
    "an instant before the calendar": (["--time", "0001-01-01T00:00:00+14:00"], "time"),
    "no reason": (["--without-amazon", ""], "printable characters are expected"),
    "a reason that steers": (["--without-amazon", "\x1b[2J"], "printable characters are expected"),
    "a missing key": (["--key", "root=file2:/nowhere/key.pem"], "/nowhere/key.pem"),
    "a missing public key": (["--public-key", "x:y=/nowhere/key.pem"], "/nowhere/key.pem"),
    "an unknown scheme": (["--key", "root=nothing:x"], "needs its public part"),
    "a name that leads out": (["--target", "../../outside.pem"], "target"),
    "an absolute name": (["--target", "/outside.pem"], "target"),
    "no name for the bundle": (["--target", ""], "target"),
    "a name that no gateway has": (["--target", "my anchors.pem"], "target"),
    "a product that is none": (["--compatible", "gateway 2"], "product"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_command_line_is_told(pipeline: TypedPipeline, kind: str) -> None:
    """Exit code 2, a message about it, and nothing is written."""
    arguments, message = WRONG[kind]
    given = [argument.replace("{path}", str(pipeline.path)) for argument in arguments]
    assert message in pipeline.refused(*given, code=2)
    assert not pipeline.repository.exists()
    assert not list(pipeline.path.rglob("*outside*"))


@pytest.mark.parametrize(("text", "days"), [("3652d", 3652), ("315532800s", 3652), ("0000000090d", 90)])
def test_a_duration_is_read_whole(pipeline: TypedPipeline, text: str, days: int) -> None:
    """However many digits it has."""
    pipeline.publish("--expires", f"root={text}", "--time", AT)
    root = Metadata[Any].from_bytes(pipeline.files["metadata/1.root.json"]).signed
    assert root.expires == NOW + timedelta(days=days)


def test_a_threshold_is_read_whole(pipeline: TypedPipeline) -> None:
    """However many digits it has."""
    pipeline.refused("--threshold", "root=00020", code=4)
    pipeline.refused("--threshold", "root=00100", code=2)


def test_a_missing_bundle_is_told(pipeline: TypedPipeline) -> None:
    """By name, with exit code 2."""
    ran = pipeline.run("publish", str(pipeline.repository), "--anchors", "/nowhere/roots.pem", *pipeline.keys)
    assert ran.code == 2
    assert ran.err.startswith("iot-cert: /nowhere/roots.pem: the store cannot be read: No such file or directory")


def test_a_repository_that_cannot_be_made_is_told(pipeline: TypedPipeline) -> None:
    """A file is in its place."""
    pipeline.repository.write_bytes(b"")
    ran = pipeline.run("publish", str(pipeline.repository), "--anchors", f"{pipeline.path}/roots.pem", *pipeline.keys)
    assert (ran.code, ran.err) == (
        2,
        f"iot-cert: {pipeline.repository} is a file, where the directory of a repository is expected.\n",
    )


@pytest.mark.parametrize("where", ["nowhere/bundle.tar", ".", "repository"])
def test_an_archive_that_cannot_be_written_is_told(pipeline: TypedPipeline, where: str) -> None:
    """In words."""
    assert pipeline.publish("--archive", f"{pipeline.path}/{where}", expect=2).err.startswith("iot-cert: Cannot ")
