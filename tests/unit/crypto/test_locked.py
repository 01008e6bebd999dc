"""What a password protects is opened within bounds, whatever the file says of its own cost."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key, pkcs12

from agent.crypto import locked
from agent.errors import MaterialError
from support.suite import campaigns
from support.unit.crypto.der import SALT, encrypted, integer, mersenne_key, named, sequence, stirred
from support.unit.crypto.import_files import EC, ENCRYPTED, PASSWORD, PKCS8, issued, packed, pem, spelt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCRYPT = "06092b06010401da47040b"


def spread(cost: int) -> bytes:
    """Return an encrypted key whose password is to be stirred in `cost` KiB of memory (RFC 7914)."""
    return encrypted(named(SCRYPT, sequence(SALT, integer(cost), integer(8), integer(1))))


def long_p12() -> bytes:
    """Return a PKCS #12 file with an RSA key of 19,630 bits, each of whose primes is looked at by OpenSSL."""
    key = load_der_private_key(mersenne_key(9941, 9689), None, unsafe_skip_rsa_key_validation=True)
    return pkcs12.serialize_key_and_certificates(b"gw", key, None, None, ENCRYPTED)  # type: ignore[arg-type]


def slow_p12() -> bytes:
    """Return a PKCS #12 file whose password is to be stirred 2**31 times for its checksum (RFC 7292, section 4)."""
    data = packed(EC, issued())
    mac = next(at for at in range(4, len(data)) if data[at] == 0x30 and data[at + 1] == len(data) - at - 2)
    return sequence(data[4:mac], sequence(data[mac + 2 :].removesuffix(integer(2_048)), integer(2**31 - 1)))


SLOW: dict[str, Callable[[], bytes]] = {
    "PBKDF2": lambda: stirred(2**31 - 1), "PBKDF2 beyond counting": lambda: stirred(2**63),
    "scrypt": lambda: spread(2**20), "scrypt without end": lambda: spread(2**24),
    "PKCS #12": slow_p12, "long RSA": long_p12,
}  # fmt: skip
USE_UP_THE_TIME = ("PBKDF2", "PKCS #12", "long RSA")  # a second of a processor each; others are refused before

TAKEN = campaigns.one_of_each(list(SLOW), lambda kind: "time" if kind in USE_UP_THE_TIME else kind)


@pytest.mark.parametrize("kind", TAKEN)
def test_what_costs_too_much_is_given_up(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In time, with what to do; nothing else is printed."""
    data, before = SLOW[kind](), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with pytest.raises(MaterialError, match="more than 1 seconds of processor time or 256 MiB of memory") as error:
        locked.opened(data, PASSWORD, patience=1)
    assert "openssl pkcs12 -nodes" in error.value.hint
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.5
    assert capfd.readouterr() == ("", "")


def test_what_is_common_is_opened() -> None:
    """A key and a pair, and what OpenSSL and cryptography take for careful today."""
    careful = PKCS8.PKCS12.encryption_builder().kdf_rounds(1_000_000).build(PASSWORD)
    assert locked.opened(spelt(EC, Encoding.DER, encryption=ENCRYPTED), PASSWORD) == spelt(EC)
    assert locked.opened(spelt(EC, encryption=ENCRYPTED), PASSWORD) == spelt(EC)
    assert locked.opened(packed(EC, leaf := issued(), encryption=careful), PASSWORD) == spelt(EC) + pem(leaf)


@pytest.mark.parametrize("data", [b"", b"\x30", b"garbage", stirred(1_000), spread(1_024)])
def test_what_does_not_open_is_told_as_nothing(data: bytes) -> None:
    """A wrong password and another kind of file look alike."""
    assert locked.opened(data, PASSWORD) == b""
    assert locked.opened(data, None) == b""


LIMITED = """
import os, resource, sys
from agent.crypto import locked
from agent.errors import MaterialError
os.setuid(int(sys.argv[1]))
limit = int(sys.argv[3])
resource.setrlimit(getattr(resource, sys.argv[2]), (limit, limit))
try:
    print(locked.opened(sys.stdin.buffer.read(), b"secret"))
except MaterialError as error:
    print(error, error.hint)
"""


def opened_with(limit: str, value: int, data: bytes = b"garbage") -> str:
    """Return what comes of a file where the user that opens it has a limit."""
    command = [sys.executable, "-c", LIMITED, str(os.getuid() or 65_534), limit, str(value)]
    return subprocess.run(command, check=True, capture_output=True, input=data).stdout.decode()


def test_a_tighter_limit_of_the_user_stays() -> None:
    """Which only root may raise: nothing of the file is to blame for it."""
    assert opened_with("RLIMIT_CPU", 9) == "b''\n"


def test_a_limit_of_the_user_is_blamed_for_what_it_keeps_away() -> None:
    """Of processes and of memory; the file may be as it should be."""
    told = opened_with("RLIMIT_NPROC", 0)
    assert told.startswith("it is not opened, since no process can be started for it: Resource temporarily unavailable")
    assert "raise `ulimit -u`" in told
    told = opened_with("RLIMIT_AS", locked.MOST, spread(2**18))
    assert told.startswith("to open it takes more than the ")
    assert "MiB of memory that a limit of this user's leaves Raise that limit: `ulimit -v`" in told


def test_no_pipe_is_told_as_that() -> None:
    """A process that may open no more files is none of the file's either."""
    told = opened_with("RLIMIT_NOFILE", 3)
    assert told.startswith("it is not opened, since no process can be started for it: Too many open files")
    assert "LimitNOFILE=" in told


def test_where_the_kernel_tells_no_sizes_it_opens_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without /proc, as in some containers; what costs too much is still given up."""
    monkeypatch.setattr(locked, "STATM", tmp_path / "gone")
    assert locked.opened(spelt(EC, encryption=ENCRYPTED), PASSWORD) == spelt(EC)
    with pytest.raises(MaterialError, match="more than 1 seconds of processor time or 256 MiB of memory"):
        locked.opened(spread(2**24), PASSWORD, patience=1)
