"""The rules of RFC 5280 and of the web PKI, each by a chain that breaks it, and where this gateway is more lenient.

Source: RFC 5280, sections 4.1, 4.2 and 6.1; CA/Browser Forum, baseline requirements for server certificates, section
7.1. What the profile of AWS's own chains has is in `AS_AWS_HAS_IT`.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.crypto.server_chain import complaint
from support.aws.rsa_keys import known_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
HOST = "abc123-ats.iot.eu-west-1.amazonaws.com"
KEYS = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "middle", "leaf", "other")}
Extensions = dict[str, tuple[x509.ExtensionType, bool]]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a certificate is to be like.

    Attributes:
        extensions: By a name of their own, each with whether it is critical.
        subject: Its common name; None for an empty name.
        key: Its public key; the one of its place where None.
        life: From when until when, in days from now.
        digest: Of its signature.
    """

    extensions: Extensions
    subject: str | None
    key: CertificatePublicKeyTypes | None = None
    life: tuple[int, int] = (-1, 90)
    digest: Any = field(default_factory=hashes.SHA256)

    def without(self, *names: str) -> Shape:
        """Return the same without some extensions."""
        kept = {name: value for name, value in self.extensions.items() if name not in names}
        return Shape(extensions=kept, subject=self.subject, key=self.key, life=self.life, digest=self.digest)

    def having(self, extension: x509.ExtensionType, *, critical: bool = False, name: str = "more") -> Shape:
        """Return the same with one extension more, or another in its place."""
        more = {**self.extensions, name: (extension, critical)}
        return Shape(extensions=more, subject=self.subject, key=self.key, life=self.life, digest=self.digest)


def usage(*, signs: bool, digital: bool = True) -> x509.KeyUsage:
    """Return a key usage."""
    return x509.KeyUsage(digital, False, False, False, False, signs, signs, False, False)  # noqa: FBT003


def authority(name: str, key: str, issuer: str, *, length: int | None = None) -> Shape:
    """Return the shape of a sound authority."""
    return Shape(
        subject=name,
        extensions={
            "constraints": (x509.BasicConstraints(ca=True, path_length=length), True),
            "usage": (usage(signs=True), True),
            "ski": (x509.SubjectKeyIdentifier.from_public_key(KEYS[key].public_key()), False),
            "aki": (x509.AuthorityKeyIdentifier.from_issuer_public_key(KEYS[issuer].public_key()), False),
        },
    )


ROOT, MIDDLE = authority("Root", "root", "root"), authority("Middle", "middle", "root", length=0)
LEAF = Shape(
    subject=HOST,
    extensions={
        "constraints": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (usage(signs=False), True),
        "eku": (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        "san": (x509.SubjectAlternativeName([x509.DNSName(HOST)]), False),
        "aki": (x509.AuthorityKeyIdentifier.from_issuer_public_key(KEYS["middle"].public_key()), False),
    },
)


def issue(shape: Shape, place: str, signer: str, issuer: str) -> x509.Certificate:
    """Make a certificate of a shape."""
    empty = x509.Name([])
    builder = (
        x509.CertificateBuilder()
        .subject_name(empty if shape.subject is None else named(shape.subject))
        .issuer_name(named(issuer))
        .public_key(shape.key or KEYS[place].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + shape.life[0] * DAY)
        .not_valid_after(NOW + shape.life[1] * DAY)
    )
    for extension, critical in shape.extensions.values():
        builder = builder.add_extension(extension, critical)
    return builder.sign(KEYS[signer], shape.digest)


def named(common_name: str) -> x509.Name:
    """Return a name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def said(shapes: Mapping[str, Shape] | None = None, host: str = HOST) -> str:
    """Return what is said against a chain of three, of which some are of another shape."""
    root, middle, leaf = ({"root": ROOT, "middle": MIDDLE, "leaf": LEAF} | dict(shapes or {})).values()
    chain = [issue(leaf, "leaf", "middle", "Middle"), issue(middle, "middle", "root", "Root")]
    return judged(chain, issue(root, "root", "root", "Root"), host)


def judged(chain: Sequence[x509.Certificate], root: x509.Certificate, host: str = HOST) -> str:
    """Return what is said against a chain, given its root."""
    return complaint([item.public_bytes(Encoding.DER) for item in chain], root.public_bytes(Encoding.PEM), host)


def test_a_sound_chain_is_taken() -> None:
    """The one that each case below differs from in one point."""
    assert said() == ""


def names(*permitted: str, excluded: Sequence[str] = ()) -> x509.NameConstraints:
    """Return name constraints for DNS names."""
    return x509.NameConstraints(
        [x509.DNSName(name) for name in permitted] or None, [x509.DNSName(name) for name in excluded] or None
    )


def raw(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    """Return an extension with a value of one's own, however malformed."""
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


NC, SAN, BC, EKU, AKI = "2.5.29.30", "2.5.29.17", "2.5.29.19", "2.5.29.37", "2.5.29.35"
UNKNOWN = raw("1.3.6.1.4.1.55555.1", b"\x05\x00")
EKUS = {name: x509.ExtendedKeyUsage([oid]) for name, oid in (
    ("client", ExtendedKeyUsageOID.CLIENT_AUTH), ("any", ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE),
    ("code", ExtendedKeyUsageOID.CODE_SIGNING))}  # fmt: skip

BROKEN: dict[str, dict[str, Shape]] = {
    # The server's own certificate.
    "an authority's": {"leaf": LEAF.having(x509.BasicConstraints(ca=True, path_length=None), critical=True,
                                           name="constraints")},
    "without serverAuth": {"leaf": LEAF.without("eku")},
    "for clients": {"leaf": LEAF.having(EKUS["client"], name="eku")},
    "for anything": {"leaf": LEAF.having(EKUS["any"], name="eku")},
    "for code": {"leaf": LEAF.having(EKUS["code"], name="eku")},
    "key signs certificates": {"leaf": LEAF.having(usage(signs=True), critical=True, name="usage")},
    "without its issuer's key id": {"leaf": LEAF.without("aki")},
    "an issuer's id without its key": {"leaf": LEAF.having(
        x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(named("Middle"))], 7), name="aki")},
    "critical issuer's key id": {"leaf": LEAF.having(LEAF.extensions["aki"][0], critical=True, name="aki")},
    "without names": {"leaf": LEAF.without("san")},
    "empty subject, names not critical": {"leaf": Shape(subject=None, extensions=LEAF.extensions)},
    "malformed names": {"leaf": LEAF.without("san").having(raw(SAN, b"\x30\x03\x82\x05a"))},
    "an unknown critical extension": {"leaf": LEAF.having(UNKNOWN, critical=True)},
    "a DSA key": {"leaf": Shape(subject=HOST, extensions=LEAF.extensions,
                                key=dsa.generate_private_key(1024).public_key())},  # noqa: S505 - longer ones take long to make
    "a short RSA key": {"leaf": Shape(subject=HOST, extensions=LEAF.extensions,
                                      key=rsa.generate_private_key(65537, 1024).public_key())},  # noqa: S505 - it is too short
    "an odd curve": {"leaf": Shape(subject=HOST, extensions=LEAF.extensions,
                                   key=ec.generate_private_key(ec.SECP256K1()).public_key())},
    "expired": {"leaf": Shape(subject=HOST, extensions=LEAF.extensions, life=(-9, -1))},
    "not valid yet": {"leaf": Shape(subject=HOST, extensions=LEAF.extensions, life=(1, 9))},
    "for another name": {"leaf": LEAF.having(x509.SubjectAlternativeName([x509.DNSName("b.example")]), name="san")},
    # Authorities in between.
    "an authority without constraints": {"middle": MIDDLE.without("constraints")},
    "an authority that is none": {"middle": MIDDLE.having(x509.BasicConstraints(ca=False, path_length=None),
                                                          critical=True, name="constraints")},
    "an authority whose constraints are not critical": {
        "middle": MIDDLE.having(x509.BasicConstraints(ca=True, path_length=0), name="constraints")},
    "an authority without key usage": {"middle": MIDDLE.without("usage")},
    "an authority whose key signs none": {"middle": MIDDLE.having(usage(signs=False), critical=True, name="usage")},
    "an authority without key id": {"middle": MIDDLE.without("ski")},
    "an authority without its issuer's key id": {"middle": MIDDLE.without("aki")},
    "an authority for clients": {"middle": MIDDLE.having(EKUS["client"])},
    "an authority with an unknown critical extension": {"middle": MIDDLE.having(UNKNOWN, critical=True)},
    "an expired authority": {"middle": Shape(subject="Middle", extensions=MIDDLE.extensions, life=(-9, -1))},
    # Name constraints (section 4.2.1.10).
    "names that are not permitted": {"middle": MIDDLE.having(names("example.org"), critical=True)},
    "names that are excluded": {"middle": MIDDLE.having(names(excluded=["amazonaws.com"]), critical=True)},
    "malformed name constraints": {"middle": MIDDLE.having(raw(NC, b"\x30\x05\xa0\x03"), critical=True)},
    "name constraints that are null": {"middle": MIDDLE.having(raw(NC, b"\x05\x00"), critical=True)},
    "empty name constraints": {"middle": MIDDLE.having(raw(NC, b"\x30\x00"), critical=True)},
    "name constraints on a server": {"leaf": LEAF.having(names("amazonaws.com"), critical=True)},
    # The anchor binds what it signs.
    "names that the anchor excludes": {"root": ROOT.having(names(excluded=["amazonaws.com"]), critical=True)},
    "a path longer than the anchor allows": {"root": ROOT.having(x509.BasicConstraints(ca=True, path_length=0),
                                                                 critical=True, name="constraints")},
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_chain_that_breaks_a_rule_is_refused(case: str) -> None:
    """Each with a reason in words, in one short line."""
    why = said(BROKEN[case])
    assert why
    assert why.isprintable()
    assert len(why) <= 200
    assert "2.5.29" not in why


ACCEPTED: dict[str, tuple[dict[str, Shape], str]] = {
    "an anchor without key usage": (
        {"root": ROOT.without("usage")},
        "an anchor is trusted as a name and a key (RFC 5280, 6.1.1 d); `openssl req -x509` makes private roots so",
    ),
    "an anchor without key id": ({"root": ROOT.without("ski", "aki")}, "as above; older private roots have none"),
    "an anchor whose constraints are not critical": (
        {"root": ROOT.having(x509.BasicConstraints(ca=True, path_length=None), name="constraints")},
        "as above",
    ),
    "a server without key usage": (
        {"leaf": LEAF.without("usage")},
        "RFC 5280, 4.2.1.3, asks it of authorities alone",
    ),
    "a server without basic constraints": (
        {"leaf": LEAF.without("constraints")},
        "RFC 5280, 4.2.1.9: what has none is no authority",
    ),
    "a server for servers and clients": (
        {"leaf": LEAF.having(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
                             name="eku")},
        "public authorities issued both in one for decades",
    ),
    "a server that is valid for ten years": (
        {"leaf": Shape(subject=HOST, extensions=LEAF.extensions, life=(-1, 3650))},
        "the limit of 398 days is one for public authorities; custom domains may have private ones",
    ),
    "an unknown extension that is not critical": (
        {"leaf": LEAF.having(UNKNOWN)},
        "RFC 5280, 4.2: it is passed over",
    ),
    "permitted names": ({"middle": MIDDLE.having(names("amazonaws.com"), critical=True)}, "they are kept to"),
    "name constraints that are not critical": (
        {"middle": MIDDLE.having(names("amazonaws.com"))},
        "they bind all the same; the baseline requirements allow it, 7.1.5",
    ),
    "P-521": (
        {"leaf": Shape(subject=HOST, extensions=LEAF.extensions,
                       key=ec.generate_private_key(ec.SECP521R1()).public_key())},
        "TLS 1.3 has it (RFC 8446, 4.2.3)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ACCEPTED)
def test_where_this_gateway_is_more_lenient(case: str) -> None:
    """On purpose: what works today and does no harm must not leave a gateway unable to connect."""
    shapes, reason = ACCEPTED[case]
    assert reason
    assert said(shapes) == ""


def test_the_anchor_may_be_an_authority_in_between() -> None:
    """A gateway that was given the intermediate alone trusts it."""
    middle = issue(MIDDLE, "middle", "root", "Root")
    leaf = issue(LEAF, "leaf", "middle", "Middle")
    assert judged([leaf], middle) == judged([leaf, middle], middle) == ""


def test_a_chain_is_found_among_more_than_it_needs() -> None:
    """AWS sends roots that others have signed along; which of them this gateway knows is its business."""
    leaf, middle = issue(LEAF, "leaf", "middle", "Middle"), issue(MIDDLE, "middle", "root", "Root")
    root, elder = issue(ROOT, "root", "root", "Root"), issue(authority("Elder", "other", "other"), "other", "other",
                                                             "Elder")  # fmt: skip
    crossed = issue(authority("Root", "root", "other"), "root", "other", "Elder")
    for anchor in (root, elder):
        assert judged([leaf, middle, crossed], anchor) == ""
        assert judged([leaf, middle, crossed, elder], anchor) == ""
        assert judged([leaf, crossed, middle], anchor) == ""
    assert judged([leaf, middle], elder)


@pytest.mark.parametrize("host", ["192.0.2.7", "fd00::7"])
def test_a_server_may_have_an_address(host: str) -> None:
    """In a laboratory; it must be in the certificate as one."""
    leaf = LEAF.having(x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))]), name="san")
    assert said({"leaf": leaf}, host) == ""
    assert said(host=host)


@pytest.mark.parametrize("chain", [[], [b""], [b"\x30\x00"], [b"x" * 10_000]])
def test_what_is_no_chain_is_refused(chain: list[bytes]) -> None:
    """Nothing is raised, whatever was sent."""
    assert complaint(chain, issue(ROOT, "root", "root", "Root").public_bytes(Encoding.PEM), HOST)


def test_chains_as_aws_sends_them_are_taken(tmp_path: Path) -> None:
    """RSA with SHA-256 over four steps, with every extension that they have, up to a root with the serial number 0.

    As of "Amazon Trust Services, certificate policy", and as Starfield Services Root CA - G2 is: `openssl` makes it,
    since the library refuses to make what it takes.
    """
    made = as_aws(tmp_path)
    anchors = {name: (tmp_path / f"{name}.pem").read_bytes() for name in ("starfield", "amazon")}
    for known in (anchors["starfield"], anchors["amazon"], anchors["amazon"] + anchors["starfield"]):
        assert complaint(made, known, HOST) == ""
    other = issue(ROOT, "root", "root", "Root").public_bytes(Encoding.PEM)
    assert complaint(made, other, HOST)


AS_AWS_HAS_IT = {
    "starfield": "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash",
    "amazon": "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign,cRLSign\n"
    "subjectKeyIdentifier=hash",
    "crossed": "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign,cRLSign\n"
    "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nauthorityInfoAccess=OCSP;URI:http://o.example,"
    "caIssuers;URI:http://x.example/x.cer\ncrlDistributionPoints=URI:http://c.example/r.crl\n"
    "certificatePolicies=2.5.29.32.0",
    "issuing": "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,digitalSignature,keyCertSign,cRLSign\n"
    "extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    "authorityInfoAccess=OCSP;URI:http://o.example\ncrlDistributionPoints=URI:http://c.example/i.crl\n"
    "certificatePolicies=2.23.140.1.2.1",
    "leaf": "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
    "extendedKeyUsage=serverAuth,clientAuth\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    "subjectAltName=DNS:*.iot.eu-west-1.amazonaws.com,DNS:iot.eu-west-1.amazonaws.com\n"
    "certificatePolicies=2.23.140.1.2.1\nauthorityInfoAccess=OCSP;URI:http://o.example\n"
    "crlDistributionPoints=URI:http://c.example/i.crl\n"
    "1.3.6.1.4.1.11129.2.4.2=ASN1:FORMAT:HEX,OCTETSTRING:0000",
}


def as_aws(at: Path) -> list[bytes]:
    """Make a chain of AWS's shape below `at`, and return what the server sends of it, as DER."""
    for number, key in enumerate(("starfield", "amazon", "issuing", "leaf")):
        made = known_key(2048, number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (at / f"{key}.key").write_bytes(made)
    for name, key, issuer, serial in (
        ("starfield", "starfield", "", "0"), ("amazon", "amazon", "", "2"), ("crossed", "amazon", "starfield", "3"),
        ("issuing", "issuing", "amazon", "4"), ("leaf", "leaf", "issuing", "5"),
    ):  # fmt: skip
        (at / f"{name}.ext").write_text(AS_AWS_HAS_IT[name])
        openssl(at, "req", "-new", "-key", f"{key}.key", "-subj", f"/C=US/O=Amazon/CN={key}", "-out", f"{name}.csr")
        signs = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"] if issuer else ["-signkey", f"{key}.key"]
        openssl(at, "x509", "-req", "-in", f"{name}.csr", *signs, "-set_serial", serial, "-days", "90", "-sha256",
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    sent = [
        x509.load_pem_x509_certificate((at / f"{name}.pem").read_bytes()) for name in ("leaf", "issuing", "crossed")
    ]
    return [certificate.public_bytes(Encoding.DER) for certificate in sent]


def openssl(at: Path, *words: str) -> None:
    """Run openssl."""
    subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=at)
