"""What is told of a vending machine that sells nothing; each status is met in `tests/unit/iotcore/test_vending.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.core.failure import failures, proxy_failures, vending_failures
from agent.core.failure.codes import Code
from support.simulated.rig import is_told

if TYPE_CHECKING:
    from agent.core.failure.failure import Failure

HOST = "abcde12345.execute-api.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    "failure",
    [
        failures.name_not_found(HOST),
        failures.unreachable(HOST, 443, "no route to host"),
        failures.not_tls(HOST, 443, "plain HTTP"),
        failures.tls_interrupted(HOST, "closed"),
        failures.tls_version(HOST, "no shared cipher"),
        *(
            failures.server_certificate(HOST, code, "it does not verify")
            for code in (Code.UNKNOWN_ROOT, Code.WRONG_HOST, Code.SERVER_EXPIRED, Code.WEAK_CHAIN)
        ),
    ],
)
def test_what_a_connection_meets_is_told_as_the_machine_s(failure: Failure) -> None:
    """Class and code stay, and nothing sends a person to the endpoint's settings."""
    found = vending_failures.on_the_way(failure, proxied=False)
    assert (found.kind, found.code, found.decisive) == (failure.kind, failure.code, False)
    assert found.message == f"The vending machine cannot be asked. {failure.message}"
    assert is_told(found)
    assert "`endpoint`" not in found.remedy
    assert "`port`" not in found.remedy


def test_a_proxy_keeps_its_own_remedy() -> None:
    """It is what has to be mended."""
    for failure in (
        proxy_failures.proxy_not_found("proxy.example"),
        proxy_failures.proxy_unreachable("proxy.example:3128", "refused"),
    ):
        assert vending_failures.on_the_way(failure, proxied=True).remedy == failure.remedy
    untrusted = failures.server_certificate(HOST, Code.UNKNOWN_ROOT, "no anchor signs it")
    assert "enrollment.ca" in vending_failures.on_the_way(untrusted, proxied=True).remedy


def test_a_refusal_sends_to_the_operator_who_alone_can_mend_it() -> None:
    """And to the file that the new token goes into."""
    found = vending_failures.declined(403, "No certificate is sold.", "0042", its_own=True)
    assert "`iot-cert cloud readmit 0042 --for 24h`" in found.remedy
    assert "`enrollment.token`" in found.remedy
    assert is_told(found)
