from __future__ import annotations

import warnings
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.utils import CryptographyDeprecationWarning

from agent.core.text import common_name
from agent.core.trust.anchor_lint import (
    AnchorFinding,
    KnownRoot,
    KnownRoots,
    Severity,
    StoreEntry,
    lint,
    organisation,
    worst,
)
from agent.crypto import x509
from agent.crypto.root_lists import known
from support import make
from support.make import DAY, NOW

if TYPE_CHECKING:
    from agent.core.values import CertificateFacts

ROOTS = Path(__file__).parents[3] / "data" / "roots"
SOON = 180 * DAY
TICK = timedelta(microseconds=1)
NOTHING = KnownRoots()
OLD_SIGNATURES = (*(f"1.2.840.113549.1.1.{kind}" for kind in (2, 4, 5)), "1.2.840.10045.4.1")  # MD2, MD5, SHA-1
JUDGED = datetime(2026, 11, 22, tzinfo=UTC)


def found(
    *facts: CertificateFacts, now: datetime | None = NOW, known_roots: KnownRoots = NOTHING, amazon: bool = False
) -> tuple[AnchorFinding, ...]:
    """Return what is to be said of a store of these certificates."""
    entries = [StoreEntry(line=number, facts=item) for number, item in enumerate(facts, 1)]
    return lint(entries, known_roots, now, soon=SOON, amazon=amazon)


def codes(*facts: CertificateFacts, now: datetime | None = NOW, known_roots: KnownRoots = NOTHING) -> list[str]:
    """Return the codes of what is to be said."""
    return [finding.code for finding in found(*facts, now=now, known_roots=known_roots)]


def root(**changes: object) -> CertificateFacts:
    """Return a root that nothing is to be said of."""
    name = "CN=Root,O=Sound Ltd,C=XX"
    return make.anchor(**{"subject": name, "issuer": name, "signature": "rsa-sha256", "key": "RSA 2048", **changes})


def test_nothing_is_said_of_a_sound_root() -> None:
    """Neither alone nor among others like it."""
    assert found(root()) == ()
    assert found(root(), root(sha256="01" * 32)) == ()


# -- dates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"not_after": NOW}, "expired"),
        ({"not_after": NOW + TICK}, "expiring"),
        ({"not_after": NOW + SOON - TICK}, "expiring"),
        ({"not_after": NOW + SOON}, None),
        ({"not_before": NOW}, None),
        ({"not_before": NOW + TICK}, "not-yet-valid"),
        ({"not_before": NOW + DAY, "not_after": NOW - DAY}, "expired"),
    ],
)
def test_dates_are_judged_to_the_microsecond(changes: dict[str, datetime], code: str | None) -> None:
    """A root is good until its end, is warned of before it, and is good from its beginning on."""
    assert codes(root(**changes)) == ([code] if code else [])


@pytest.mark.parametrize("changes", [{"not_after": NOW - DAY}, {"not_after": NOW + DAY}, {"not_before": NOW + DAY}])
def test_a_clock_that_is_not_believed_judges_no_dates(changes: dict[str, datetime]) -> None:
    """Without an instant nothing has expired."""
    assert codes(root(**changes)) != []
    assert codes(root(**changes), now=None) == []


def test_a_date_is_told_with_the_name_and_the_day() -> None:
    """And with what to do about it."""
    (finding,) = found(root(not_after=datetime(2027, 2, 3, tzinfo=UTC)))

    assert finding.message == "Root expired on 2027-02-03."
    assert finding.remedy == "Ship its successor, then remove it."
    assert (finding.severity, finding.sha256) == (Severity.WARNING, "ef" * 32)


# -- what a certificate is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({"is_ca": False}, "not-a-ca", Severity.ERROR),
        ({"is_ca": False, "version": 1}, "old-version", Severity.WARNING),
        ({"is_ca": False, "version": 1, "issuer": "CN=Another"}, "not-a-ca", Severity.ERROR),
        *(({"key": key}, "weak-key", Severity.ERROR) for key in ("RSA 1024", "RSA 2047", "DSA", "EC secp192r1")),
        *(({"key": key}, "odd-key", Severity.ERROR) for key in ("EC secp224r1", "EC secp256k1", "Ed25519")),
        ({"unfit": "it is for clients"}, "unfit", Severity.ERROR),
        ({"serial": "-2a"}, "negative-serial", Severity.WARNING),
        *(({"signature": oid}, "old-signature", Severity.INFORMATION) for oid in OLD_SIGNATURES),
    ],
)
def test_what_a_certificate_is_has_a_severity(changes: dict[str, object], code: str, severity: Severity) -> None:
    """An error is what makes a store useless or dangerous; what everybody has is information."""
    assert [(finding.code, finding.severity) for finding in found(root(**changes))] == [(code, severity)]


@pytest.mark.parametrize("key", ["RSA 2048", "RSA 4096", "EC P-256", "EC P-384", "EC P-521"])
def test_a_key_that_is_strong_enough_is_not_mentioned(key: str) -> None:
    """Of any kind."""
    assert codes(root(key=key)) == []


def test_an_intermediate_may_be_an_anchor() -> None:
    """An operator who pins one knows why."""
    assert codes(root(issuer="CN=Root above it")) == []


def test_a_certificate_may_have_several_things_wrong() -> None:
    """None hides another."""
    wrong = root(is_ca=False, key="RSA 512", not_after=NOW, signature="1.2.840.113549.1.1.4")

    assert sorted(codes(wrong)) == ["expired", "not-a-ca", "old-signature", "weak-key"]


# -- what is known of roots --------------------------------------------------------------------------------------------

LISTED = KnownRoot(name="Listed", sha256="11" * 32, spki_sha256="22" * 32, why="it was careless")
LISTS = KnownRoots(distrusted=(LISTED,), organisations={"Careless, Inc.": "its keys were lost"})


@pytest.mark.parametrize("changes", [{"sha256": "11" * 32}, {"spki_sha256": "22" * 32}])
def test_a_distrusted_root_is_known_by_its_certificate_or_its_key(changes: dict[str, str]) -> None:
    """A reissue keeps the key, and deserves no more trust, whichever authority signed it."""
    (finding,) = found(root(issuer="CN=Another", **changes), known_roots=LISTS)

    assert (finding.code, finding.severity) == ("distrusted", Severity.WARNING)
    assert finding.message == "Root is distrusted: it was careless."


def test_a_family_of_roots_is_known_by_its_organisation() -> None:
    """In a root's own name; what others signed for the family is another matter."""
    careless = root(subject="CN=C1,O=Careless\\, Inc.,C=XX", issuer="CN=C1,O=Careless\\, Inc.,C=XX")
    bridged = root(subject="CN=C1,O=Careless\\, Inc.,C=XX", issuer="CN=Root,O=Sound Ltd")
    signed = root(subject="CN=Root,O=Sound Ltd", issuer="CN=C1,O=Careless\\, Inc.,C=XX")

    assert [finding.message for finding in found(careless, known_roots=LISTS)] == [
        "C1 is distrusted: its keys were lost."
    ]
    assert codes(bridged, known_roots=LISTS) == codes(signed, known_roots=LISTS) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CN=x,O=Example,C=XX", "Example"),
        ("O=Careless\\, Inc.,C=XX", "Careless, Inc."),
        ("CN=O=Not this,C=XX", ""),
        ("CN=x,OU=Unit", ""),
        ("CN=x, O=Spaced", "Spaced"),
        ("", ""),
    ],
)
def test_the_organisation_is_read_from_a_name(name: str, expected: str) -> None:
    """With commas that belong to it, and from nothing that only looks like it."""
    assert organisation(name) == expected


AMAZON = KnownRoots(
    amazon=(
        KnownRoot(name="Amazon Root CA 1", sha256="31" * 32, spki_sha256="32" * 32),
        KnownRoot(name="Amazon Root CA 2", sha256="33" * 32, spki_sha256="34" * 32),
    )
)


def test_a_missing_amazon_root_is_told_where_it_matters() -> None:
    """It is there when its key is, under whatever certificate; and it is of no concern to other servers."""
    reissued = root(sha256="99" * 32, spki_sha256="32" * 32)
    (finding,) = found(reissued, known_roots=AMAZON, amazon=True)

    assert (finding.code, finding.severity, finding.sha256) == ("missing", Severity.WARNING, "33" * 32)
    assert finding.message.startswith("Amazon Root CA 2 is missing; ")
    assert found(reissued, known_roots=AMAZON) == ()
    assert len(found(root(), known_roots=AMAZON, amazon=True)) == 2


# -- the store as a whole ----------------------------------------------------------------------------------------------


def test_an_entry_that_cannot_be_read_hides_nothing() -> None:
    """It is one error that names its line; the others are judged as ever."""
    entries = [
        StoreEntry(line=1, facts=root(not_after=NOW)),
        StoreEntry(line=7, problem="it has no end"),
        StoreEntry(line=9, facts=root(key="DSA", sha256="01" * 32)),
    ]
    findings = lint(entries, NOTHING, NOW, soon=SOON, amazon=False)

    assert [finding.code for finding in findings] == ["unparsable", "weak-key", "expired"]
    assert findings[0].message == "The entry at line 7 cannot be used: it has no end."
    assert findings[0].severity is Severity.ERROR


def test_a_store_without_a_usable_certificate_is_of_no_use() -> None:
    """Empty, or full of what cannot be read; which Amazon roots are missing is not the point then."""
    for entries in ([], [StoreEntry(line=1, problem="it has no end")]):
        findings = lint(entries, AMAZON, NOW, soon=SOON, amazon=True)
        assert Counter(finding.code for finding in findings) == Counter(["empty", *(["unparsable"] * len(entries))])
        assert worst(findings) is Severity.ERROR


def test_the_same_certificate_twice_is_told_once() -> None:
    """With how often it stands there; the same key in another certificate is no repetition."""
    (finding,) = found(root(), root(sha256="01" * 32), root(), root())

    assert (finding.code, finding.severity) == ("duplicate", Severity.WARNING)
    assert finding.message == "Root stands in the store 3 times."


def test_the_worst_comes_first() -> None:
    """Whatever the order in the store."""
    findings = found(root(signature="1.2.840.10045.4.1"), root(not_after=NOW), root(key="DSA", sha256="01" * 32))
    order = [Severity.ERROR, Severity.WARNING, Severity.INFORMATION]

    assert all(order.index(first.severity) <= order.index(second.severity) for first, second in pairwise(findings))
    assert worst(findings) is Severity.ERROR
    assert worst(findings[1:]) is Severity.WARNING
    assert worst(()) is None


def test_findings_are_sentences() -> None:
    """Message and remedy both; a finding that cannot be acted on has no remedy."""
    entries = [
        StoreEntry(line=1, facts=root(is_ca=False, key="DSA", not_after=NOW, signature="1.2.840.10045.4.1")),
        StoreEntry(line=2, facts=root(is_ca=False, version=1, sha256="11" * 32, not_before=NOW + DAY)),
        StoreEntry(line=3, facts=root(not_after=NOW + DAY)),
        StoreEntry(line=4, problem="it has no end"),
    ]
    lists = KnownRoots(amazon=AMAZON.amazon, distrusted=LISTS.distrusted)
    findings = lint(iter(entries), lists, NOW, soon=SOON, amazon=True)

    assert {finding.code for finding in findings} == {
        "unparsable", "not-a-ca", "weak-key", "expired", "expiring", "not-yet-valid", "old-version", "old-signature",
        "duplicate", "distrusted", "missing",
    }  # fmt: skip
    for finding in findings:
        assert finding.message.endswith(".")
        assert finding.remedy.endswith(".") or finding.severity is Severity.INFORMATION


# -- the stores that there are -----------------------------------------------------------------------------------------

SYMANTEC = {
    "GeoTrust Global CA", "GeoTrust Universal CA", "GeoTrust Universal CA 2",
    "GeoTrust Primary Certification Authority",
    "GeoTrust Primary Certification Authority - G2", "GeoTrust Primary Certification Authority - G3",
    "thawte Primary Root CA", "thawte Primary Root CA - G2", "thawte Primary Root CA - G3",
    "VeriSign Class 3 Public Primary Certification Authority - G4",
    "VeriSign Class 3 Public Primary Certification Authority - G5", "VeriSign Universal Root Certification Authority",
}  # fmt: skip
CAMERFIRMA = {"Chambers of Commerce Root - 2008", "Global Chambersign Root - 2008"}
SINCE_2021 = {
    "Entrust.net Certification Authority (2048)", "Entrust Root Certification Authority",
    "Entrust Root Certification Authority - G2", "Entrust Root Certification Authority - EC1",
    "Entrust Root Certification Authority - G4", "AffirmTrust Commercial", "AffirmTrust Networking",
    "AffirmTrust Premium", "AffirmTrust Premium ECC", "TrustCor RootCert CA-1", "TrustCor RootCert CA-2",
    "TrustCor ECA-1", "Go Daddy Class 2 Certification Authority", "Starfield Class 2 Certification Authority",
    "ePKI Root Certification Authority", "emSign ECC Root CA - G3", "emSign Root CA - C1", "emSign ECC Root CA - C3",
}  # fmt: skip
EXPIRED_2021 = {
    "GlobalSign", "Baltimore CyberTrust Root", "Security Communication RootCA1", "DST Root CA X3",
    "Cybertrust Global Root", "Hongkong Post Root CA 1", "E-Tugra Certification Authority",
    "Staat der Nederlanden EV Root CA",
}  # fmt: skip

# What is to be said of each store, by code and short name; SHA-1 is counted here and compared by name below.
STORES: dict[str, tuple[int, dict[str, set[str]], int]] = {
    "mozilla-2020-06-20.pem": (
        138,
        {
            "distrusted": SYMANTEC | CAMERFIRMA | SINCE_2021,
            "expired": EXPIRED_2021
            | {
                "GeoTrust Global CA",
                "QuoVadis Root Certification Authority",
                "Sonera Class2 CA",
                "Trustis FPS Root CA",
            },
            "expiring": {"Entrust Root Certification Authority"},
            "negative-serial": {"EC-ACC"},
        },
        50,
    ),
    "mozilla-2021-10-08.pem": (
        131,
        {
            "distrusted": SINCE_2021 | {"GLOBALTRUST 2020"},
            "expired": EXPIRED_2021,
            "expiring": {"Entrust Root Certification Authority"},
            "negative-serial": {"EC-ACC"},
        },
        36,
    ),
    "mozilla-2026-10-18.pem": (117, {}, 3),
}
UNDATED_2020 = {"distrusted": 32, "negative-serial": 1, "old-signature": 50}
FIGURES = {
    "mozilla-2020-06-20.pem": UNDATED_2020 | {"expired": 12, "expiring": 1},
    "mozilla-2021-10-08.pem": {
        "distrusted": 19,
        "negative-serial": 1,
        "old-signature": 36,
        "expired": 8,
        "expiring": 1,
    },
    "mozilla-2026-10-18.pem": {"old-signature": 3},
}


def certificates_of(name: str) -> list[library.Certificate]:
    """Return what the library finds in one of the stores."""
    with warnings.catch_warnings():  # one of Amazon's roots has the serial number 0
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return library.load_pem_x509_certificates((ROOTS / name).read_bytes())


def judged(name: str) -> tuple[AnchorFinding, ...]:
    """Return what is to be said of one of the stores, on a fixed day."""
    entries = x509.read_store((ROOTS / name).read_bytes())
    return lint(entries, known(), JUDGED, soon=SOON, amazon=True)


@pytest.mark.parametrize("name", STORES)
def test_each_certificate_of_a_public_store_is_read(name: str) -> None:
    """There are as many as the library itself finds, and the same ones."""
    entries = x509.read_store((ROOTS / name).read_bytes())
    certificates = certificates_of(name)

    assert len(entries) == len(certificates) == STORES[name][0]
    assert [entry.problem for entry in entries if entry.facts is None] == []
    digests = [one.fingerprint(hashes.SHA256()).hex() for one in certificates]
    assert [entry.facts.sha256 for entry in entries if entry.facts] == digests


@pytest.mark.parametrize("name", STORES)
def test_what_is_said_of_a_public_store_is_exactly_this(name: str) -> None:
    """By code and name: no error, nothing missing, nothing twice, and each finding for a reason."""
    findings = judged(name)
    by_code: dict[str, set[str]] = {}
    facts = {entry.facts.sha256: entry.facts for entry in x509.read_store((ROOTS / name).read_bytes()) if entry.facts}
    for finding in findings:
        by_code.setdefault(finding.code, set()).add(common_name(facts[finding.sha256].subject))

    assert Counter(finding.code for finding in findings) == FIGURES[name]
    assert {code: names for code, names in by_code.items() if code != "old-signature"} == STORES[name][1]
    assert Severity.ERROR not in {finding.severity for finding in findings}


@pytest.mark.parametrize("name", STORES)
def test_dates_and_signatures_of_a_public_store_are_what_the_library_says(name: str) -> None:
    """Judged once more, without a line of the agent's."""
    shown = {"expired": set[str](), "expiring": set[str](), "old-signature": set[str]()}
    for finding in judged(name):
        shown.setdefault(finding.code, set()).add(finding.sha256)
    expected = {"expired": set[str](), "expiring": set[str](), "old-signature": set[str]()}
    for one in certificates_of(name):
        sha256 = one.fingerprint(hashes.SHA256()).hex()
        if one.not_valid_after_utc <= JUDGED:
            expected["expired"].add(sha256)
        elif one.not_valid_after_utc < JUDGED + SOON:
            expected["expiring"].add(sha256)
        if one.signature_hash_algorithm and one.signature_hash_algorithm.name in {"sha1", "md5"}:
            expected["old-signature"].add(sha256)

    assert {code: shown[code] for code in expected} == expected


def test_a_public_store_without_a_clock_has_no_dates() -> None:
    """Whatever else is wrong with it is told."""
    entries = x509.read_store((ROOTS / "mozilla-2020-06-20.pem").read_bytes())
    findings = lint(entries, known(), None, soon=SOON, amazon=True)

    assert Counter(finding.code for finding in findings) == UNDATED_2020
