from __future__ import annotations

import json
from typing import TYPE_CHECKING

import grimp
import pytest
from cryptography import x509

from agent.backend import lambdas, provider
from agent.backend.errors import MisconfiguredError, NotSignedError
from agent.backend.names import Metric
from support.aws.account import CLAIM
from support.aws.moto_account import AwsWorld, emulated, signing_request
from support.aws.own_signer import keep_keys, make_ca, sign_digests, switched_on

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="world")
def _world(monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsWorld]:
    """An account that signs, which the function finds by its environment."""
    keep_keys(monkeypatch)
    for made in (lambdas.account, provider.keys):
        made.cache_clear()
    with emulated():
        world = AwsWorld()
        world.now = lambdas.now()
        world.store.save_signer(switched_on(make_ca(world.now)))
        sign_digests(provider.keys()._kms)
        yield world
    for made in (lambdas.account, provider.keys):
        made.cache_clear()


EVENT = {"certificateSigningRequest": signing_request("gw-0042"), "principalId": CLAIM, "clientId": "any"}


def test_the_function_as_aws_iot_calls_it(world: AwsWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON in, JSON out, and a line of the log that CloudWatch counts."""
    answer = json.loads(json.dumps(provider.sign(EVENT, None)))
    ca = x509.load_pem_x509_certificate(world.store.signer().cas[0].pem.encode())
    x509.load_pem_x509_certificate(answer["certificatePem"].encode()).verify_directly_issued_by(ca)
    (line,) = (json.loads(text) for text in capsys.readouterr().out.splitlines())
    assert line[Metric.SIGNED] == 1


def test_a_refusal_is_no_fault_and_what_could_not_be_done_is(
    world: AwsWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    """The alarm is for the latter."""
    with pytest.raises(NotSignedError):
        provider.sign({**EVENT, "certificateSigningRequest": "none"}, None)
    provider.keys()._kms.disable_key(KeyId=world.store.signer().cas[0].key)
    with pytest.raises(MisconfiguredError):
        provider.sign(EVENT, None)
    told = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [[name for name in Metric if name in line] for line in told] == [[Metric.SIGNING_REFUSED], [Metric.FAULTS]]


def test_one_function_alone_needs_cryptography() -> None:
    """And no other package besides; its zip follows from that."""
    graph = grimp.build_graph(
        "agent", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    needed = graph.find_upstream_modules("agent.backend.provider")
    outside = {name for name in needed if not name.startswith("agent.") and name in {"cryptography", "boto3", "yaml"}}
    assert outside == {"cryptography", "boto3"}
    meet = {
        name for name in graph.find_modules_that_directly_import("cryptography") if name.startswith("agent.backend")
    }
    assert meet == {"agent.backend.decide.signing"}
