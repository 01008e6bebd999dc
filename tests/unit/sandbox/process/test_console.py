from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from agent.errors import AgentError
from agent.sandbox.cloud import Cloud
from agent.sandbox.process.console import Console, OrderError
from agent.sandbox.process.folder import write_configuration
from agent.sandbox.service import LocalCloud

if TYPE_CHECKING:
    from pathlib import Path


def now() -> datetime:
    """Return the real time, since TLS checks certificates by it."""
    return datetime.now(UTC)


@pytest.fixture
def service(tmp_path: Path) -> LocalCloud:
    """Return a sandbox that does not run: its settings are what is looked at."""
    return LocalCloud(Cloud(now), tmp_path)


@pytest.fixture
def console(service: LocalCloud, tmp_path: Path) -> Console:
    """Return what takes orders for it."""
    return Console(service, now, tmp_path)


def meet(service: LocalCloud, trust: bytes, *, only: ssl.TLSVersion | None = None) -> str | None:
    """Shake hands with the endpoint in memory, strictly and with the claim, and return the version of TLS."""
    context = ssl.create_default_context(cadata=trust.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    service.cloud.claim.load_into(context)
    if only is not None:
        context.minimum_version = context.maximum_version = only
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(back, there, server_hostname="localhost")
    server = service._contexts()[0].wrap_bio(there, back, server_side=True)
    for side in (client, server) * 3:
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return client.version()


def presented(service: LocalCloud) -> list[str]:
    """Return the names in the certificates that the endpoint presents."""
    chain = x509.load_pem_x509_certificates(service._tls.server.certificate_pem)
    return [one.subject.rfc4514_string() for one in chain]


def read(path: Path) -> x509.Certificate:
    """Return the one certificate in a file."""
    (certificate,) = x509.load_pem_x509_certificates(path.read_bytes())
    return certificate


# -- roots -------------------------------------------------------------------------------------------------------------


def test_a_new_root_is_written_and_not_used_yet(console: Console, service: LocalCloud, tmp_path: Path) -> None:
    """The answer says where."""
    path = tmp_path / "roots" / "b.pem"
    assert console.obey("root new b") == f"the root 'b' is in {path}"
    assert read(path).subject.rfc4514_string() == "CN=Sandbox endpoint root b"
    assert service.root_pem != path.read_bytes()
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(service, path.read_bytes())


def test_a_new_root_may_bear_the_name_of_an_organisation(console: Console, tmp_path: Path) -> None:
    """The text is taken as it was written."""
    console.obey("root new old-one organisation VeriSign,  Inc.")
    (organisation, _) = read(tmp_path / "roots" / "old-one.pem").subject
    assert organisation.value == "VeriSign,  Inc."


@pytest.mark.parametrize("how", ["", " intermediate"])
def test_the_endpoint_moves_to_another_root_and_back(
    how: str, console: Console, service: LocalCloud, tmp_path: Path
) -> None:
    """Only who trusts the root in use can connect, with an intermediate or without."""
    write_configuration(tmp_path, service, probation=1)
    console.obey("root new b")
    a, b = ((tmp_path / "roots" / f"{name}.pem").read_bytes() for name in "ab")
    for name, used, other in (("b", b, a), ("a", a, b)):
        assert console.obey(f"root use {name}{how}") == f"new connections meet a certificate of the root {name!r}"
        assert service.root_pem == used
        assert meet(service, used) == "TLSv1.3"
        with pytest.raises(ssl.SSLCertVerificationError):
            meet(service, other)


def test_to_clear_faults_does_not_move_the_endpoint(console: Console, service: LocalCloud, tmp_path: Path) -> None:
    """A move is no fault; the certificate after it is sound and has its intermediate."""
    console.obey("root new b")
    console.obey("root use b intermediate")
    console.obey("server expired")
    console.obey("clear")
    assert presented(service) == ["CN=localhost", "CN=Sandbox issuing CA"]
    assert meet(service, (tmp_path / "roots" / "b.pem").read_bytes()) == "TLSv1.3"


@pytest.mark.parametrize(
    "order",
    [
        "root",
        "root new",
        "root new a",
        "root new ../b",
        "root new B",
        "root new " + "b" * 33,
        "root new b organisation",
        "root new b named x",
        "root use",
        "root use b",
        "root use a sideways",
        "root use a intermediate twice",
        "root drop a",
    ],
)
def test_an_order_about_roots_that_cannot_be_carried_out_is_refused(
    order: str, console: Console, service: LocalCloud, tmp_path: Path
) -> None:
    """And nothing was done."""
    root = service.root_pem
    with pytest.raises(OrderError, match="cannot be carried out"):
        console.obey(order)
    assert service.root_pem == root
    assert list(console.roots) == ["a"]
    assert not list(tmp_path.rglob("*.pem"))


def test_a_root_that_cannot_be_written_is_not_made(console: Console, tmp_path: Path) -> None:
    """The message says which file and why, and the name is free."""
    (tmp_path / "roots").write_text("in the way")
    with pytest.raises(OrderError, match=r"b\.pem cannot be written: (Not a directory|File exists)"):
        console.obey("root new b")
    (tmp_path / "roots").unlink()
    console.obey("root new b")


def test_a_console_without_a_folder_makes_no_roots(service: LocalCloud) -> None:
    """It can still move the endpoint."""
    console = Console(service, now)
    with pytest.raises(OrderError, match="no folder to write roots to"):
        console.obey("root new b")
    console.obey("root use a intermediate")
    assert service.issuer.above is service.endpoint_authority


def test_the_first_root_is_written_with_the_configuration(service: LocalCloud, tmp_path: Path) -> None:
    """Its file is the anchor that the configuration names, byte for byte, and a second start writes it again."""
    for _ in range(2):
        write_configuration(tmp_path, service, probation=1)
    written = (tmp_path / "roots" / "a.pem").read_bytes()
    assert written == (tmp_path / "roots.pem").read_bytes() == service.root_pem


def test_a_folder_that_cannot_be_written_is_an_error_for_a_person(service: LocalCloud, tmp_path: Path) -> None:
    """The folder of the roots is part of the configuration."""
    (tmp_path / "roots").write_text("in the way")
    with pytest.raises(AgentError, match="cannot be written"):
        write_configuration(tmp_path, service, probation=1)


# -- what the endpoint presents and offers -----------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["a", "a intermediate"])
@pytest.mark.parametrize(
    ("certificate", "complaint"),
    [
        ("expired", "certificate has expired"),
        ("wrong-host", "Hostname mismatch"),
        ("other-root", "unable to get local issuer"),
    ],
)
def test_the_certificate_presented_can_be_wrong_and_sound_again(
    root: str, certificate: str, complaint: str, console: Console, service: LocalCloud
) -> None:
    """Each is refused for its own reason, with an intermediate as without."""
    console.obey(f"root use {root}")
    console.obey(f"server {certificate}")
    assert len(presented(service)) == (2 if "intermediate" in root and certificate != "other-root" else 1)
    with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
        meet(service, service.root_pem)
    assert console.obey("server good") == "new connections meet the certificate 'good'"
    assert meet(service, service.root_pem) == "TLSv1.3"


def test_the_versions_of_tls_can_be_narrowed_and_widened(console: Console, service: LocalCloud) -> None:
    """With one version offered a client of the other is refused."""
    old, new = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    for order, kept, refused in (("tls 1.2", old, new), ("tls 1.3", new, old)):
        console.obey(order)
        assert meet(service, service.root_pem, only=kept) == kept.name.replace("_", ".")
        with pytest.raises(ssl.SSLError):
            meet(service, service.root_pem, only=refused)
    console.obey("tls any")
    for version in (old, new):
        assert meet(service, service.root_pem, only=version)


def test_the_help_tells_the_orders_about_roots(console: Console) -> None:
    """With their arguments."""
    told = console.obey("help")
    for order in ("root new NAME [organisation TEXT]", "root use NAME [intermediate]", "server good | expired", "tls"):
        assert f"\n{order}" in told


# -- what becomes of certificates --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("audit age", "the order 'audit age' cannot be carried out (no gateway has a certificate yet)."),
        ("audit age ffff", "the order 'audit age ffff' cannot be carried out (0 certificates begin with ffff)."),
    ],
)
def test_an_order_about_certificates_that_cannot_be_carried_out_is_refused(
    order: str, said: str, console: Console
) -> None:
    """With the reason."""
    with pytest.raises(OrderError) as refused:
        console.obey(order)
    assert str(refused.value).lower() == said


def test_new_certificates_live_as_long_as_is_said(console: Console, service: LocalCloud) -> None:
    """Until it is said otherwise."""
    provisioning = service.cloud.provisioning
    assert console.obey("lifetime 60") == "new certificates live 60 s"
    assert provisioning.lifetime == timedelta(seconds=60)
    assert console.obey("lifetime 0") == "new certificates live until 2049"
    assert provisioning.lifetime is None


def test_an_audit_is_about_the_certificate_that_is_named(console: Console, service: LocalCloud) -> None:
    """The claim's, here, which belongs to no gateway."""
    (claim,) = service.cloud.registry
    assert console.obey(f"audit expiry {claim[:12]}").startswith("nothing is ordered: It is no gateway of this stack.")
