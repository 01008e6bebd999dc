"""CAs whose certificates a root of the operator's makes: asked for by `--csr`, taken in by `--certificate`."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from cryptography import x509
from moto.iot import iot_backends

from agent.backend.names import KEY_ISSUER_TAG
from agent.backend.values import Signer
from agent.fleet.errors import AccountError
from support.aws.fleet_account import NOW, Interrupted
from support.aws.own_signer import Root
from support.suite import campaigns
from support.unit.own_ca import keys, row

if TYPE_CHECKING:
    from support.aws.fleet_account import Operator

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ROOT = Root(NOW)
ENDS = NOW + 1825 * DAY  # as the root says
CSR, TAKEN = "--new --csr", "--new --certificate ca.pem"
CSR_2, TAKEN_2 = "--renew 1 --csr", "--renew 1 --certificate ca.pem"


@pytest.fixture(name="rooted")
def _rooted(operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Operator:
    """An operator who has a root, and works in a directory of their own."""
    monkeypatch.setattr("moto.kms.models.unix_time", operator.now.timestamp)
    monkeypatch.chdir(tmp_path)
    operator.deploy(LifetimeHours="24")
    return operator


def registered() -> set[str]:
    """Return the CAs that AWS IoT knows."""
    return set(iot_backends["123456789012"]["eu-west-1"].ca_certificates)


def ordered(operator: Operator, order: str) -> None:
    """Carry an order out, and have the root answer the request that it prints."""
    code, said = operator.runs("ca", *order.split(), "--yes")
    assert code == 0, said
    if "--csr" in order:
        Path("ca.pem").write_bytes(ROOT.answers(said))


def test_a_root_of_the_operators_signs_the_ca(rooted: Operator) -> None:
    """The request is of the key in KMS; what the root makes of it is registered, and noted with its own end."""
    rooted.typed = "ca"
    code, said = rooted.runs("ca", *CSR.split())
    assert code == 0, said
    assert "iot-cert cloud ca --new --certificate FILE" in said
    (key,) = keys()
    assert (registered(), row(rooted)) == (set(), Signer())
    Path("ca.pem").write_bytes(ROOT.pem + ROOT.answers(said))

    code, said = rooted.runs("ca", *TAKEN.split())
    assert code == 0, said
    assert "CN=iot-cert gateway CA 1, of CN=Example Root, ends at 2031-11-27" in said
    (own,) = row(rooted).cas
    assert (own.key, own.signs_from, own.ends) == (key["KeyId"], NOW, ENDS)
    assert registered() == {own.ca_id}
    made = x509.load_pem_x509_certificate(own.pem.encode())
    made.verify_directly_issued_by(x509.load_pem_x509_certificate(ROOT.pem))
    assert "There is a CA already: 1" in rooted.runs("ca", *TAKEN.split())[1]
    assert "There is a CA already: 1" in rooted.runs("ca", *CSR.split())[1]
    assert len(keys()) == 1


def test_a_request_is_printed_again_without_a_word(rooted: Operator) -> None:
    """It is the same one, of the same key, and as JSON, too."""
    first = rooted.runs("ca", *CSR.split(), "--yes")[1]
    rooted.typed = None
    rooted.now += 20 * DAY
    code, again = rooted.runs("ca", *CSR.split())
    assert code == 0, again
    assert again[again.index("-----BEGIN") :] == first[first.index("-----BEGIN") :]
    (told,) = rooted.rows("ca", *CSR.split())
    assert told["request"] in again
    assert told["key"] == keys()[0]["KeyId"]
    assert "PRIVATE" not in first + again + json.dumps(told)


def test_without_the_word_no_key_is_made_and_no_certificate_taken(rooted: Operator) -> None:
    """Each is asked for on its own."""
    rooted.typed = "no"
    assert rooted.runs("ca", *CSR.split())[0] == 4
    assert keys() == []
    ordered(rooted, CSR)
    assert rooted.runs("ca", *TAKEN.split())[0] == 4
    assert (registered(), row(rooted)) == (set(), Signer())


def test_a_renewal_counts_its_overlap_from_the_certificate(rooted: Operator) -> None:
    """However long the root took, those who must know the CA have a week; a --from that was said first stands."""
    ordered(rooted, CSR)
    ordered(rooted, TAKEN)
    ordered(rooted, CSR_2)
    rooted.now += 20 * DAY
    ordered(rooted, TAKEN_2)
    assert row(rooted).cas[1].signs_from == rooted.now + 7 * DAY

    ordered(rooted, "--renew 2 --csr --from 2027-02-01T00:00Z")
    ordered(rooted, "--renew 2 --certificate ca.pem")
    assert f"{row(rooted).cas[2].signs_from:%Y-%m-%d}" == "2027-02-01"
    assert [item.number for item in row(rooted).cas] == [1, 2, 3]
    assert registered() == {item.ca_id for item in row(rooted).cas}


@pytest.mark.parametrize(
    ("order", "told"),
    [
        ("--csr", "they go with --new or --renew"),
        ("--retire 1 --certificate ca.pem", "they go with --new or --renew"),
        (TAKEN, "CA 1 has no key yet"),
        ("--renew 1 --csr", "There is no CA 1"),
    ],
)
def test_an_order_that_cannot_be(rooted: Operator, order: str, told: str) -> None:
    """It says what comes first."""
    code, said = rooted.runs("ca", *order.split(), "--yes")
    assert (code, keys()) == (2, [])
    assert told in said


def test_a_key_is_for_one_certificate(rooted: Operator) -> None:
    """A CA that signs itself beside the one that the root signs would be told by no verifier from it."""
    ordered(rooted, CSR)
    code, said = rooted.runs("ca", "--new", "--yes")
    assert code == 2
    assert "--certificate takes in" in said
    key = keys()[0]["KeyId"]
    assert f"aws kms disable-key --key-id {key}" in said
    boto3.client("kms").disable_key(KeyId=key)
    rooted.refuses("GetRegistrationCode", "ThrottlingException", "x", 400)
    assert rooted.runs("ca", "--new", "--yes")[0] == 5
    for order in (CSR, TAKEN):
        code, said = rooted.runs("ca", *order.split(), "--yes")
        assert code == 2, said
        assert "signs itself" in said
    del rooted._answers["GetRegistrationCode"]
    assert rooted.runs("ca", "--new", "--yes")[0] == 0
    tags = boto3.client("kms").list_resource_tags(KeyId=row(rooted).cas[0].key)["Tags"]
    assert KEY_ISSUER_TAG not in {item["TagKey"] for item in tags}


def test_a_file_that_is_not_the_cas(rooted: Operator) -> None:
    """It is not there, is none, is of another key, or says too little; nothing is registered."""
    ordered(rooted, CSR)
    mine = Path("ca.pem").read_bytes()
    key = x509.load_pem_x509_certificate(mine).public_key()
    subject = x509.load_pem_x509_certificate(mine).subject
    for content, told in (
        (None, "No such file"),
        (b"garbage", "cannot be read"),
        (ROOT.pem, "no certificate of the key of CA 1"),
        (ROOT.issue(subject, key, limits=None), "CA:TRUE"),
        (ROOT.issue(subject, key, valid=(-DAY, HOUR)), "It ends at"),
    ):
        path = Path("ca.pem")
        path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        code, said = rooted.runs("ca", *TAKEN.split(), "--yes")
        assert code == 2, said
        assert told in said
    assert (registered(), row(rooted)) == (set(), Signer())


@pytest.mark.parametrize(("status", "told"), [("gone", "has none of its id"), ("INACTIVE", "--new-status ACTIVE")])
def test_a_ca_that_aws_does_not_know_so_signs_nothing(rooted: Operator, status: str, told: str) -> None:
    """It has another id, or was made INACTIVE before: no row says that it signs, and the order is typed again."""
    ordered(rooted, CSR)
    if status == "gone":
        rooted.refuses("DescribeCACertificate", "ResourceNotFoundException", "x", 404)
    else:
        rooted.answers("DescribeCACertificate", {"certificateDescription": {"status": status}})
    code, said = rooted.runs("ca", *TAKEN.split(), "--yes")
    assert code == AccountError.exit
    assert told in said
    assert row(rooted) == Signer()
    del rooted._answers["DescribeCACertificate"]
    ordered(rooted, TAKEN)


# ---- interrupted and typed again -------------------------------------------------------------------------------------

LOOK, KEY = ("DescribeStacks", "GetItem", "ListKeys"), ("DescribeKey", "ListResourceTags")
TAKE = (
    "GetPublicKey",
    "GetRegistrationCode",
    "Sign",
    "RegisterCACertificate",
    "DescribeCACertificate",
    "GetItem",
    "PutItem",
)
ORDERS = {
    CSR: (*LOOK, "CreateKey", "GetPublicKey", "Sign"),
    TAKEN: (*LOOK, *KEY, *TAKE),
    CSR_2: (*LOOK, "DescribeKey", "CreateKey", "GetPublicKey", "Sign"),
    TAKEN_2: (*LOOK, "DescribeKey", *KEY, *TAKE),
}
CUTS = [
    pytest.param(order, place, id=f"{order}, before {place}, {calls[place]}")
    for order, calls in ORDERS.items()
    for place in range(1, len(calls))
]


def prepared(operator: Operator, order: str) -> Operator:
    """Return an operator before an order."""
    for before in list(ORDERS)[: list(ORDERS).index(order)]:
        ordered(operator, before)
    operator.calls.clear()
    return operator


@pytest.mark.parametrize("order", ORDERS)
def test_what_an_order_asks_of_aws(rooted: Operator, order: str) -> None:
    """So that it is cut off before each of these below."""
    ordered(prepared(rooted, order), order)
    assert rooted.calls == list(ORDERS[order])


@pytest.mark.parametrize(("order", "place"), [CUTS[place] for place in campaigns.places(len(CUTS), 8)])
def test_an_order_that_was_cut_off_is_typed_again(rooted: Operator, order: str, place: int) -> None:
    """Wherever: one key and one CA certificate, and a row that names both alone where AWS IoT has the certificate."""
    operator = prepared(rooted, order)
    before = row(operator).cas
    operator.cut_at = place
    with pytest.raises(Interrupted):
        operator.runs("ca", *order.split(), "--yes")
    operator.cut_at = None
    assert row(operator).cas == before
    operator.now += HOUR
    ordered(operator, order)
    after = row(operator), keys()
    assert operator.runs("ca", *order.split(), "--yes")[0] == 0, "its end was not told"
    assert (row(operator), keys()) == after

    number = 2 if "--renew" in order else 1
    assert len(keys()) == number
    ordered(operator, order.replace("--csr", "--certificate ca.pem"))
    cas = row(operator).cas
    assert [item.number for item in cas] == list(range(1, number + 1))
    assert registered() == {item.ca_id for item in cas}
    assert {item.key for item in cas} == {item["KeyId"] for item in keys()}
    assert cas[-1].ends == ENDS
