from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from agent.sandbox.account.authority import Authority, name

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOST = "localhost"


def served(authority: Authority) -> list[x509.Certificate]:
    """Return what a server of an authority presents."""
    return x509.load_pem_x509_certificates(authority.issue_server(HOST, NOW - DAY, NOW + DAY).certificate_pem)


def chain(root: Authority, presented: list[x509.Certificate]) -> list[str]:
    """Return the names from the server to its root, as a verifier that is not the one in use finds them."""
    verifier = PolicyBuilder().store(Store([root.certificate])).time(NOW).build_server_verifier(x509.DNSName(HOST))
    return [one.subject.rfc4514_string() for one in verifier.verify(presented[0], presented[1:])]


def test_a_root_signs_its_servers_itself() -> None:
    """One certificate is presented, and a strict verifier takes it."""
    root = Authority("root", NOW)
    assert chain(root, served(root)) == ["CN=localhost", "CN=root"]


def test_an_organisation_comes_first_in_the_name() -> None:
    """As in the names of the roots that browsers have distrusted."""
    root = Authority("Class 3 G5", NOW, organisation="VeriSign, Inc.")
    assert root.certificate.subject == root.certificate.issuer == name("Class 3 G5", "VeriSign, Inc.")
    assert [attribute.value for attribute in root.certificate.subject] == ["VeriSign, Inc.", "Class 3 G5"]


@pytest.mark.parametrize(
    ("not_after", "begins", "ends"),
    [
        (None, NOW - DAY, NOW + timedelta(days=365 * 20)),
        (NOW + 30 * DAY, NOW - DAY, NOW + 30 * DAY),
        (NOW - 30 * DAY, NOW - 31 * DAY, NOW - 30 * DAY),
    ],
)
def test_a_root_may_end_soon_or_have_ended(not_after: datetime | None, begins: datetime, ends: datetime) -> None:
    """It lives for twenty years if nothing else is said."""
    made = Authority("root", NOW, not_after=not_after).certificate
    assert (made.not_valid_before_utc, made.not_valid_after_utc) == (begins, ends)


def test_an_intermediate_is_sent_along_and_its_root_is_not() -> None:
    """Its own PEM is one certificate; without it the server cannot be verified."""
    root = Authority("root", NOW)
    below = root.intermediate("below", NOW)
    presented = served(below)
    assert presented[1:] == [below.certificate] == x509.load_pem_x509_certificates(below.pem)
    assert chain(root, presented) == ["CN=localhost", "CN=below", "CN=root"]
    with pytest.raises(VerificationError):
        chain(root, presented[:1])


def test_an_intermediate_signs_no_authorities() -> None:
    """Its certificate says so, and it refuses."""
    below = Authority("root", NOW).intermediate("below", NOW)
    limits = below.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (limits.critical, limits.value) == (True, x509.BasicConstraints(ca=True, path_length=0))
    with pytest.raises(ValueError, match="signs no other"):
        below.intermediate("deeper", NOW)


def test_a_cross_signed_root_is_verified_by_who_trusts_the_older_one() -> None:
    """As Starfield Services G2 vouches for Amazon Root CA 1; who trusts the newer one needs nothing of it."""
    older, newer = Authority("older", NOW), Authority("newer", NOW)
    presented = [*served(newer.intermediate("below", NOW)), older.cross_sign(newer, NOW)]
    assert chain(older, presented) == ["CN=localhost", "CN=below", "CN=newer", "CN=older"]
    assert chain(newer, presented) == ["CN=localhost", "CN=below", "CN=newer"]
    with pytest.raises(VerificationError):
        chain(older, presented[:2])
