from __future__ import annotations

import pytest

from agent.core.checksum import checksum

TEXT = b"endpoint: x.example\nruntime_dir: /run/iot-cert-agent\n"


def test_the_same_text_has_the_same_checksum() -> None:
    """In this version and the next: the command and the daemon may not be of one."""
    assert checksum(TEXT) == checksum(bytes(TEXT)) == "53-60144b7d"


@pytest.mark.parametrize("bit", range(8))
def test_another_text_has_another_one(bit: int) -> None:
    """Whichever bit is another, and whatever is added or goes."""
    others = [TEXT[:place] + bytes([TEXT[place] ^ 1 << bit]) + TEXT[place + 1 :] for place in range(len(TEXT))]
    others += [TEXT[:place] for place in range(len(TEXT))]
    assert checksum(TEXT) not in {checksum(other) for other in [*others, TEXT + b"\n", TEXT + b"\0"]}
