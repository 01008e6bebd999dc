from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.core.trust.anchor_lint import organisation
from agent.crypto import x509
from agent.crypto.root_lists import known
from support import make

ROOT = Path(__file__).parents[3]
ROOTS = ROOT / "tests" / "data" / "roots"


def test_the_roots_of_amazon_are_those_of_its_repository() -> None:
    """By certificate and by key, as the files that Amazon publishes have them, and as the package ships them."""
    published = [*ROOTS.glob("amazon-root-ca-*.pem"), ROOTS / "starfield-services-root-ca-g2.pem"]
    facts = [x509.read_bundle(path.read_bytes()).anchors[0] for path in published]
    listed = {(root.sha256, root.spki_sha256) for root in known().amazon}

    assert len(facts) == 5
    assert listed == {(one.sha256, one.spki_sha256) for one in facts}
    baked = x509.read_bundle((ROOT / "config" / "amazon-roots.pem").read_bytes())
    assert {root.sha256 for root in known().amazon} == baked.fingerprints


def test_each_root_of_a_list_is_named_and_each_distrust_has_a_reason() -> None:
    """A reason completes the sentence "NAME is distrusted: REASON."."""
    lists = known()
    for root in (*lists.amazon, *lists.distrusted):
        assert root.name.strip()
        assert re.fullmatch(r"[0-9a-f]{64}", root.sha256)
        assert re.fullmatch(r"[0-9a-f]{64}", root.spki_sha256)
    for why in (*(root.why for root in lists.distrusted), *lists.organisations.values()):
        assert re.fullmatch(r"\S.*[^.\s]", why)
    assert all(not root.why for root in lists.amazon)


def test_no_root_stands_in_a_list_twice() -> None:
    """Nor on both."""
    lists = known()
    listed = [root.sha256 for root in (*lists.amazon, *lists.distrusted)]

    assert len(set(listed)) == len(listed)
    assert not {root.spki_sha256 for root in lists.amazon} & {root.spki_sha256 for root in lists.distrusted}


def test_nothing_that_amazon_needs_is_distrusted() -> None:
    """Not by certificate, by key or by organisation."""
    for path in (*ROOTS.glob("amazon-root-ca-*.pem"), ROOTS / "starfield-services-root-ca-g2.pem"):
        (anchor,) = x509.read_bundle(path.read_bytes()).anchors
        assert known().distrust_of(anchor) == ""


@pytest.mark.parametrize(
    ("name", "why"),
    [("legacy-verisign-class3-g5.pem", "Symantec"), ("legacy-starfield-class2.pem", "root age")],
)
def test_the_roots_of_the_legacy_endpoint_are_known_for_what_they_are(name: str, why: str) -> None:
    """They are in old stores still."""
    (anchor,) = x509.read_bundle((ROOTS / name).read_bytes()).anchors

    assert why in known().distrust_of(anchor)


def test_a_listed_organisation_is_found_in_the_name_of_a_root() -> None:
    """As a certificate's name has it, with the comma escaped."""
    for listed, why in known().organisations.items():
        name = "CN=Some Root,O={},C=US".format(listed.replace(",", "\\,"))
        assert organisation(name) == listed
        assert known().distrust_of(make.anchor(subject=name, issuer=name)) == why


def test_a_distrusted_root_is_found_by_its_key_in_another_certificate() -> None:
    """Its reissue."""
    root = known().distrusted[0]

    assert known().distrust_of(make.anchor(spki_sha256=root.spki_sha256)) == root.why
    assert known().distrust_of(make.anchor(sha256=root.sha256)) == root.why
    assert known().distrust_of(make.anchor()) == ""


def test_the_lists_are_read_once() -> None:
    """Each look at a status document asks for them."""
    assert known() is known()
