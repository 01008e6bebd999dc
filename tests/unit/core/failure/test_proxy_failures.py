"""What a proxy's refusal means; `tests/unit/iotcore/test_path.py` has proxies that say each."""

from __future__ import annotations

import pytest

from agent.core.failure.failure import FailureClass, judge
from agent.core.failure.proxy_failures import Way, proxy_refused

WAY = Way(proxy="proxy.example:3128", host="gateways.example", port=8883)


def test_a_proxy_that_the_sdk_met_is_named_without_its_words() -> None:
    """The SDK says that it refused, and no more."""
    assert proxy_refused(WAY, "").message == "The proxy proxy.example:3128 opens no way to gateways.example, port 8883."


@pytest.mark.parametrize("status", ["", "407 Who", "403 Forbidden", "502 Bad Gateway"])
def test_a_proxy_speaks_for_no_certificate(status: str) -> None:
    """Whatever it says, no set is doubted for it."""
    failure = proxy_refused(WAY, status)
    assert failure.kind is FailureClass.NETWORK
    assert judge(failure) == failure


def test_what_a_proxy_says_is_kept_to_one_line() -> None:
    """It comes from outside and goes to terminals and logs."""
    assert proxy_refused(WAY, "403 a\x1b[31m\nb").message.isprintable()
    assert "Digest, NTLM" in proxy_refused(WAY, "407 x", ["Digest", "NTLM"]).message
