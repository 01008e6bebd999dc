"""The values that cross layers: what a certificate says, what one connects with, what a generation is.

All are frozen. Secrets never show in a `repr`, so they cannot reach a log or a traceback by accident.
"""

from __future__ import annotations

import re
from dataclasses import field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from agent.core.frozen import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


# Texts of at most so many characters, where they are read: see `agent.core.jsonio`.
Id = Annotated[str, 64]  # a change's, a certificate's, or a hash in hexadecimal digits
Name = Annotated[str, 128]  # a thing's, or what a change was ordered by
MAX_TEXT = 1_048_576  # characters
LongText = Annotated[str, MAX_TEXT]  # what others chose: names in certificates, paths, what a system said of them

MAX_URL = 8_192  # characters; a presigned URL with a session token has a fifth of it

# What a thing may be called ("CreateThing", AWS IoT API reference).
THING = re.compile(r"[a-zA-Z0-9:_-]{1,128}")

VENDED = "vended:"  # and a thing's name: in an ownership token's place, for a certificate that is registered already

# Where programs are looked for by name that are run for the agent: hooks, gates, commands.
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The common name in the request of a gateway that does not know its thing's name yet.
FALLBACK_NAME = "iot-cert-agent"


class Kind(StrEnum):
    """What a change does.

    The first two get a certificate from the cloud; the others begin with a generation that is already prepared.
    A rollback by command is a change like any other: it proves the previous generation before it uses it.
    """

    ENROLL = "enroll"
    ROTATE = "rotate"
    TRUST = "trust"
    IMPORT = "import"
    ROLLBACK = "rollback"

    @property
    def issues(self) -> bool:
        """Whether a change of this kind asks the cloud for a certificate."""
        return self in {Kind.ENROLL, Kind.ROTATE}

    @property
    def makes_a_generation(self) -> bool:
        """Whether a change of this kind writes a generation of its own, which may be set aside."""
        return self is not Kind.ROLLBACK


class Origin(StrEnum):
    """Who wanted the change."""

    TECHNICIAN = "technician"
    SCHEDULE = "schedule"
    LADDER = "ladder"
    JOB = "job"
    SHADOW = "shadow"
    INBOX = "inbox"
    IMAGE = "image"


def leads_back(kind: Kind, origin: Origin) -> bool:
    """Whether a change is a way back to the cloud: to an older set, down the ladder, or with what a person brings."""
    return origin is Origin.LADDER or kind in {Kind.ROLLBACK, Kind.IMPORT}


@frozen
class User:
    """A user of the gateway's own system, by the kernel's word.

    Attributes:
        uid: The number.
        name: The name; empty where the number has none.
        login_uid: The number under which root's session was logged in, with sudo or su the person's own; else None.
        login: The name of that.
    """

    uid: int
    name: Name = ""
    login_uid: int | None = None
    login: Name = ""

    def __str__(self) -> str:
        login = "" if self.login_uid is None else f", logged in as {_named(self.login, self.login_uid)}"
        return f"{_named(self.name, self.uid)}{login}"

    @property
    def fields(self) -> dict[str, str | int]:
        """What the journal has of it."""
        told: dict[str, str | int] = {"uid": self.uid, "user": self.name or str(self.uid)}
        return told if self.login_uid is None else {**told, "login": self.login or str(self.login_uid)}


def _named(name: str, uid: int) -> str:
    return f"{name} (uid {uid})" if name else f"uid {uid}"


class ByHand(StrEnum):
    """What becomes of a key and certificate that were put into the current generation by hand."""

    ADOPT = "adopt"  # they are proven, and used if they get through; if not, the set before stays
    RESTORE = "restore"  # the set before is put back


class OnChange(StrEnum):
    """What becomes of a set that was made with another configuration than the one in force."""

    WAIT = "wait"  # the next rotation makes one with what is configured
    ROTATE = "rotate"  # a rotation is due at once


class KeyAlgorithm(StrEnum):
    """Private keys that AWS IoT Core and the SDK both take ("Create client certificates", developer guide)."""

    EC_P256 = "ec-p256"
    EC_P384 = "ec-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"


@frozen
class CertificateFacts:
    """What one X.509 certificate says, without the library that read it.

    Attributes:
        subject: RFC 4514 text.
        issuer: RFC 4514 text.
        serial: The serial number, lower-case hexadecimal.
        not_before: Start of validity.
        not_after: End of validity.
        sha256: SHA-256 of the DER, lower-case hexadecimal; AWS IoT Core's certificate id.
        spki_sha256: SHA-256 of the subject public key info, lower-case hexadecimal.
        is_ca: Whether basic constraints say that it is a certificate authority.
        key: For people: "EC P-256", "RSA 2048".
        signature: The signature algorithm's name or dotted OID.
        digital_signature: Key usage has digitalSignature; None without the extension.
        client_auth: Extended key usage has clientAuth or any; None without the extension.
        version: The X.509 version; before 3 no certificate could say whether it is an authority.
        unfit: Why no server's certificate may stand below it though it is an authority, as a clause; None where nothing
            in it says so.
    """

    subject: LongText
    issuer: LongText
    serial: str
    not_before: datetime
    not_after: datetime
    sha256: str
    spki_sha256: str
    is_ca: bool
    key: str
    signature: LongText
    digital_signature: bool | None
    client_auth: bool | None
    version: int = 3
    unfit: str | None = None


@frozen
class CredentialSet:
    """A private key and its certificate chain, which are never apart.

    Attributes:
        key_pem: The private key, PEM, unencrypted.
        certificate_pem: The leaf first, then any intermediates.
        leaf: What the leaf says.
    """

    key_pem: bytes = field(repr=False)
    certificate_pem: bytes = field(repr=False)
    leaf: CertificateFacts


class TrustSource(StrEnum):
    """Where trust anchors may come from."""

    BAKED = "baked"  # the copy that package or OS image ships
    BUNDLE = "bundle"  # a signed bundle


@frozen
class Provenance:
    """Where a gateway's trust anchors came from.

    Attributes:
        source: Where from.
        version: The version that the bundle's signer gave it; 0 for a baked copy, and for what a person brought.
        issued_at: When it was issued, as it says itself; None when it does not say.
    """

    source: TrustSource
    version: int = 0
    issued_at: datetime | None = None

    def __str__(self) -> str:
        """Name it for people."""
        if self == BY_HAND:
            return "what a technician brought"
        baked = self.source is TrustSource.BAKED
        name = "the package or OS image" if baked else f"signed bundle {self.version}"
        return f"{name} of {self.issued_at:%Y-%m-%d}" if self.issued_at else name


# The origin of anchors that a person brought. It is written as a bundle without a version: versions before this one
# know that such a bundle gives way to no baked copy, and would take a source of its own for damage.
BY_HAND = Provenance(source=TrustSource.BUNDLE)


@frozen
class TrustBundle:
    """The trust anchors, replaceable as a unit; never empty.

    Attributes:
        pem: What the TLS library is given, to the byte.
        anchors: What each anchor says, in order.
        provenance: Where they came from, as far as it is known.
    """

    pem: bytes = field(repr=False)
    anchors: tuple[CertificateFacts, ...]
    provenance: Provenance | None = None

    @property
    def fingerprints(self) -> frozenset[str]:
        """What makes two bundles the same, whatever their order and spelling: the SHA-256 of each anchor."""
        return frozenset(anchor.sha256 for anchor in self.anchors)


@frozen
class Candidate:
    """What a connection is made with.

    Attributes:
        name: For people: "generation 7", "the claim certificate".
        credential: Key and certificate.
        trust: The anchors the endpoint must chain to; no others count.
        client_id: The MQTT client id.
        thing_name: The thing whose authorised request proves the set; None for a claim, which may ask for nothing.
    """

    name: str
    credential: CredentialSet
    trust: TrustBundle
    client_id: str
    thing_name: str | None


@frozen
class Manifest:
    """The description that lies in a generation and decides whether it is whole.

    Attributes:
        number: The generation's number; numbers only grow.
        kind: The kind of change that made it.
        change: The id of that change.
        origin: Who wanted it.
        thing_name: The thing the certificate was registered for.
        certificate_id: SHA-256 of the leaf's DER.
        not_before: Start of the leaf's validity.
        not_after: End of the leaf's validity.
        created_at: When the generation was prepared.
        files: SHA-256 of every other file, by name.
        trust: Where its trust anchors came from, as far as it is known.
        made_with: What the configuration said of key and registration when the set was made; see
            `agent.core.change.made_with`. Empty for a set that a person brought.
    """

    number: int
    kind: Kind
    change: Id
    origin: Origin
    thing_name: Name
    certificate_id: Id
    not_before: datetime
    not_after: datetime
    created_at: datetime
    files: Mapping[str, Id]
    trust: Provenance | None = None
    made_with: Mapping[str, LongText] = field(default_factory=dict)

    @property
    def leads_back(self) -> bool:
        """Whether the generation is made by a change that leads back to the cloud; see `leads_back`."""
        return leads_back(self.kind, self.origin)


@frozen
class Generation:
    """A whole generation, read and checked: the bytes here are the bytes that were verified."""

    manifest: Manifest
    credential: CredentialSet
    trust: TrustBundle

    @property
    def number(self) -> int:
        """The generation's number."""
        return self.manifest.number


@frozen
class Handmade:
    """A key and certificate that were put into a generation by hand.

    Attributes:
        number: The generation, which is not whole any more.
        credential: Key and certificate, which fit each other.
        thing_name: The thing the generation was made for.
        trust: The generation's own anchors when they are untouched, else None.
        replaced: The id of the certificate that was there before.
    """

    number: int
    credential: CredentialSet
    thing_name: str
    trust: TrustBundle | None
    replaced: str


@frozen
class Salvaged:
    """What can be saved from a generation that the links do not stand for as a whole one.

    Attributes:
        number: The generation.
        credential: A key and certificate that belong together.
        thing_name: The thing they are for; empty when its manifest cannot tell.
        trust: The anchors, when they are as they were written; else None.
        damage: What is wrong with the generation, as a sentence; empty when it is whole.
    """

    number: int
    credential: CredentialSet
    thing_name: str
    trust: TrustBundle | None
    damage: str
