from __future__ import annotations

import pytest

from agent.core.values import CredentialSet, Generation, Kind, Origin, TrustBundle
from support import make
from support.make import NOW

KEY = b"-----BEGIN PRIVATE KEY-----\nbm9ib2R5\n-----END PRIVATE KEY-----\n"


def generation() -> Generation:
    """Return generation 7 with a key, a certificate and one anchor."""
    credential = CredentialSet(key_pem=KEY, certificate_pem=make.PEM.encode(), leaf=make.certificate())
    trust = TrustBundle(pem=make.PEM.encode(), anchors=(make.certificate(is_ca=True),))
    return Generation(manifest=make.manifest(), credential=credential, trust=trust)


def test_a_printed_generation_shows_no_key_and_no_pem() -> None:
    """Nothing that holds a private key shows it, so it cannot reach a log by accident."""
    shown = f"{generation()!r} {generation()}"

    assert "CN=gw-0042" in shown
    for secret in ("PRIVATE KEY", "BEGIN CERTIFICATE", "bm9ib2R5"):
        assert secret not in shown


def test_a_generation_has_the_number_of_its_manifest() -> None:
    """The number is what the manifest says."""
    assert generation().number == 7
    assert generation().manifest.created_at == NOW


def test_only_enrolment_and_rotation_ask_for_a_certificate() -> None:
    """The other kinds begin with a generation that is already prepared."""
    assert {kind for kind in Kind if kind.issues} == {Kind.ENROLL, Kind.ROTATE}


def test_only_a_rollback_makes_no_generation_of_its_own() -> None:
    """What a rollback goes back to was made before, so it is never set aside with it."""
    assert {kind for kind in Kind if not kind.makes_a_generation} == {Kind.ROLLBACK}


@pytest.mark.parametrize("origin", Origin)
@pytest.mark.parametrize("kind", Kind)
def test_what_leads_back_to_the_cloud(kind: Kind, origin: Origin) -> None:
    """An older set, the ladder, and what a person brings along; all else can wait for room on a disk."""
    expected = kind in {Kind.ROLLBACK, Kind.IMPORT} or origin is Origin.LADDER

    assert make.manifest(kind=kind, origin=origin).leads_back is expected
    assert make.record(kind=kind, origin=origin).leads_back is expected
