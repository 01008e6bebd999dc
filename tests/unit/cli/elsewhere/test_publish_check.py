"""`iot-cert trust check`: what a pipeline learns of anchors before it publishes them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from agent.crypto.x509 import read_anchors
from agent.errors import MaterialError
from support.unit.cli.pipeline import AMAZON, OWN, ROOTS, WHOLE, TypedPipeline

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_sound_store_is_exit_code_0(pipeline: TypedPipeline) -> None:
    """One line."""
    ran = pipeline.run("check", f"{pipeline.path}/roots.pem")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{pipeline.path}/roots.pem: 5 certificates can be used\n"


def test_the_worst_of_several_stores_counts(pipeline: TypedPipeline) -> None:
    """In any order; each is shown."""
    pipeline.bundle(WHOLE, AMAZON[0].read_bytes(), name="twice.pem")
    pipeline.bundle(b"nothing", name="empty.pem")
    names = {"roots.pem": 0, "twice.pem": 1, "empty.pem": 3}
    paths = {f"{pipeline.path}/{name}": code for name, code in names.items()}
    for order in (list(paths), list(reversed(paths))):
        ran = pipeline.run("check", *order)
        assert ran.code == 3
        assert [line.partition(": ")[0] for line in ran.out.splitlines() if "can be used" in line] == order
    for path, code in paths.items():
        assert pipeline.run("check", path).code == code
    assert pipeline.run("check", *list(paths)[:2]).code == 1


def test_a_store_that_is_not_there_is_exit_code_2(pipeline: TypedPipeline) -> None:
    """By name."""
    ran = pipeline.run("check", "/nowhere/roots.pem")
    assert (ran.code, "/nowhere/roots.pem" in ran.err) == (2, True)
    assert pipeline.run("check", str(pipeline.path)).code == 2


def test_a_store_need_not_be_for_aws(pipeline: TypedPipeline) -> None:
    """With `--any`, and then only."""
    pipeline.bundle(OWN.pem, name="own.pem")
    ran = pipeline.run("check", f"{pipeline.path}/own.pem")
    assert (ran.code, ran.out.count("is missing; AWS IoT Core")) == (1, len(AMAZON))
    assert ran.out.count("Add it, from the Amazon Trust Services repository") == 1
    assert pipeline.run("check", "--any", f"{pipeline.path}/own.pem").code == 0


SPELLINGS: dict[str, Callable[[bytes], bytes]] = {
    "PEM": lambda pem: pem,
    "DER": lambda pem: x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER),
    "UTF-16 of Windows": lambda pem: pem.decode().encode("utf-16"),
    "with a mark": lambda pem: b"\xef\xbb\xbf" + pem,
    "out of JSON": lambda pem: pem.replace(b"\n", b"\\n"),
    "a label of old": lambda pem: pem.replace(b" CERT", b" X509 CERT"),
    "PKCS #7": lambda pem: pkcs7.serialize_certificates([x509.load_pem_x509_certificate(pem)], Encoding.PEM),
    "a list of names": lambda _: b"Root 1\nRoot 2\n",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_is_said_to_be_usable_is_what_the_configuration_takes(pipeline: TypedPipeline, spelling: str) -> None:
    """The same file is read for both, whatever it is; and published as PEM where it is taken."""
    pipeline.bundle(SPELLINGS[spelling](OWN.pem), name="own")
    at = pipeline.path / "own"
    usable = ": 1 certificate can be used" in pipeline.run("check", "--any", str(at)).out
    try:
        taken = read_anchors(at.read_bytes()).pem
    except MaterialError:
        taken = b""
    assert usable is (taken == OWN.pem)


def test_a_binary_store_is_read(pipeline: TypedPipeline) -> None:
    """DER, as Java and Windows have it."""
    der = x509.load_pem_x509_certificate(OWN.pem).public_bytes(Encoding.DER)
    pipeline.bundle(der, name="own.der")
    ran = pipeline.run("check", "--any", f"{pipeline.path}/own.der")
    assert (ran.code, "own.der: 1 " in ran.out) == (0, True)


REAL = ("mozilla-2020-06-20.pem", "mozilla-2021-10-08.pem", "mozilla-2026-10-18.pem")


@pytest.mark.parametrize("name", REAL)
def test_real_stores_fit_a_screen(pipeline: TypedPipeline, name: str) -> None:
    """What is mere information takes one line of a kind, and says how much more there is; machines get all of it."""
    path = ROOTS / name
    shown = pipeline.run("check", str(path))
    told = pipeline.run("check", "--json", str(path))
    (document,) = told.events
    codes = [item["code"] for item in document["findings"]]
    lines = [line.split()[:2] for line in shown.out.splitlines() if line.startswith("information")]
    assert lines == [["information", "old-signature"]]
    assert f" So do {codes.count('old-signature') - 1} more." in shown.out
    assert document["usable"] == path.read_bytes().count(b"-----BEGIN CERTIFICATE-----")
    assert (document["store"], document["exit"]) == (str(path), told.code)
    assert shown.code == told.code


def test_what_to_do_stands_below_what_it_is_for(pipeline: TypedPipeline) -> None:
    """Once for several of a kind in a row, and before what has another remedy."""
    old, first, second = (path.read_bytes() for path in (ROOTS / REAL[0], AMAZON[0], AMAZON[1]))
    one, end, _ = old.partition(b"-----END CERTIFICATE-----\n")
    (pipeline.path / "some.pem").write_bytes(one + end + 2 * first + second)
    lines = pipeline.run("check", f"{pipeline.path}/some.pem").out.splitlines()[1:]
    assert [" ".join(line.split()[:2]) for line in lines] == [
        "warning duplicate", "Keep one", *["warning missing"] * 3, "Add it,", "information old-signature",
    ]  # fmt: skip


def test_the_newest_real_store_has_nothing_to_act_on(pipeline: TypedPipeline) -> None:
    """The older ones have: roots that ended, and roots that are trusted no more."""
    found = {name: {item["code"] for item in _findings(pipeline, name)} for name in REAL}
    assert {"old-signature"} <= found["mozilla-2026-10-18.pem"] <= {"old-signature", "expiring"}
    assert {"distrusted", "expired"} <= found["mozilla-2021-10-08.pem"]
    assert {"distrusted", "expired"} <= found["mozilla-2020-06-20.pem"]


def _findings(pipeline: TypedPipeline, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pipeline.run("check", "--json", str(ROOTS / name)).events[0]["findings"]
    return found


def test_nothing_in_a_store_steers_the_terminal(pipeline: TypedPipeline) -> None:
    """Nor does its name."""
    (pipeline.path / "a\x1b[2Jb.pem").write_bytes(OWN.pem)
    assert "\x1b" not in pipeline.run("check", f"{pipeline.path}/a\x1b[2Jb.pem").out


def test_checking_does_not_load_what_signs() -> None:
    """A gateway's technician waits for what is needed alone."""
    script = (
        f"import sys\nfrom agent.cli import main\ncode = main(['trust', 'check', {str(AMAZON[0])!r}])\n"
        "print(code, sorted({'awscrt', 'awsiot', 'tuf', 'securesystemslib'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "1 []"
