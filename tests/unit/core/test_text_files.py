"""Text as real machines write it, and what is refused of it."""

from __future__ import annotations

import codecs
import re

import pytest

from agent.core.text_files import EmptyError, NoTextError, decoded, in_quotes, password_of, pem_of, text_of, value_of

VALUES = [
    b"0042\x1a",  # DOS
    b"0042\r\n\x1a\0\0",
    b"0042",
    b"0042\n",
    b"  0042 \t\r\n",
    b"0042\r",
    b"0042\0",  # the device tree
    b"0042\0\0\0\0",
    b"0042\n\0",
    b"0042\\n",  # `echo` of a shell that does not know it
    b"0042\\r\\n\n",
    b"0042\\0",  # the device tree's NUL, written by such a one
    b"0042\\x00\\n\n",
    b"0042\\u0000",
    codecs.BOM_UTF8 + b"0042\r\n",
    "0042\r\n".encode("utf-16"),
    codecs.BOM_UTF16_BE + "0042\r\n".encode("utf-16-be"),
    "0042\r\n".encode("utf-16-le"),  # without a mark
    "0042\r\n".encode("utf-16-be"),
    "0042\0".encode("utf-16-le"),
    b"0042\xff\xff\xff",  # an EEPROM that was erased before
    b"0042\n\xff",
    b"0042\x1a\r\n",  # DOS, and then an editor
    codecs.BOM_UTF8 * 2 + b"0042",  # converted twice
    "\u200b\u00a00042\ufeff\n".encode(),  # copied out of a web page
    "0042\u2028\\n".encode(),
    b"0042\0\n",  # the device tree, and then `echo`
    b"0042\0\0\r\n\0",
    "\u200e0042\u200f\u00ad".encode(),  # copied out of a window of Windows, or a table
    "0042\n".encode("utf-32"),
    codecs.BOM_UTF32_BE + "0042".encode("utf-32-be"),
]


@pytest.mark.parametrize("data", VALUES)
def test_a_value_is_what_was_meant(data: bytes) -> None:
    """A serial number is the same whichever machine wrote it."""
    assert value_of(data) == "0042"


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"\0", b" \r\n\0", b"\\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE + b"\n\0"]
)
def test_nothing_is_no_value(data: bytes) -> None:
    """However it is written."""
    with pytest.raises(EmptyError, match="there is nothing in it"):
        value_of(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"00\n42", "it is not one line of plain text"),
        (b"00\x1b[2J42", "it is not one line of plain text"),
        (b"00\0" + b"42", "there is a NUL in it"),
        (b"00\0" + b"42\0\n", "there is a NUL in it"),
        (b"caf\xe9", r"it is not UTF-8 text \(byte 3\)"),
        (codecs.BOM_UTF8 + b"caf\xe9", r"it is not UTF-8 text \(byte 6\)"),
        (codecs.BOM_UTF16_LE + b"0\0" + b"4", r"it is not UTF-16-LE text \(byte 4\)"),
    ],
)
def test_what_is_no_value_is_refused_with_the_reason(data: bytes, why: str) -> None:
    """And without the content, which may be a secret."""
    with pytest.raises(NoTextError, match=why):
        value_of(data)


@pytest.mark.parametrize("data", [b" pass word ", b" pass word \n", b" pass word \r\nnoted\r\n", b" pass word \0",
                                  b" pass word \x1a", codecs.BOM_UTF8 + b" pass word \n",
                                  codecs.BOM_UTF8 * 2 + b" pass word ",
                                  " pass word \r\n".encode("utf-16")])  # fmt: skip
def test_a_password_is_the_first_line_with_its_blanks(data: bytes) -> None:
    """Blanks may be meant; an end of line, a mark and a NUL are not."""
    assert password_of(data) == " pass word "


def test_a_value_in_quotes_is_taken_as_it_is_and_known() -> None:
    """As a file for a shell has it: what its writer meant is asked, not guessed."""
    assert value_of(b'"0042"\n') == '"0042"'
    quoted = ['"0042"', "'0042'", "\u201c0042\u201d", '""']
    assert [in_quotes(value) for value in quoted] == [True] * 4
    assert [in_quotes(value) for value in ("0042", '"', "'0042", '19" rack', "\"0042'")] == [False] * 5


def test_a_password_may_look_escaped() -> None:
    """It is not a text for people."""
    assert password_of(b"ab\\n\n") == "ab\\n"
    with pytest.raises(EmptyError):
        password_of(b"\nab")


def test_lines_end_in_one_way_and_a_parser_may_have_them_as_they_are() -> None:
    """YAML counts them itself."""
    assert text_of(b"a\r\nb\rc\n") == "a\nb\nc\n"
    assert decoded(b"a\r\nb\rc\n") == "a\r\nb\rc\n"


PEM = b"-----BEGIN CERTIFICATE-----\nMIIB\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "data",
    [
        PEM,
        PEM.replace(b"\n", b"\r\n"),
        PEM.replace(b"\n", b"\r"),
        PEM.replace(b"\n", b"\\n"),
        PEM.replace(b"\n", b"\\r\\n"),
        codecs.BOM_UTF8 + PEM,
        PEM.decode().encode("utf-16"),
        PEM.decode().encode("utf-16-le"),
        PEM + b"\0",
        PEM + b"\x1a",
        re.sub(rb"(?m)^(?=.)", b"> ", PEM),
        re.sub(rb"(?m)^(?=.)", b" >>| ", PEM),
        PEM.decode().replace("\n", "\u2028").encode(),
        PEM.decode().replace("\n", "\x85").encode(),
        PEM.decode().replace(" ", "\u00a0").encode(),
        PEM.decode().replace("\n", "\n\u200b").encode(),
        PEM.decode().replace("MIIB", "MI\u00adIB").encode(),
        PEM.decode().replace("-----", "\u2014\u2013-").encode(),
        PEM.replace(b"-----", b"----"),
        PEM.replace(b"BEGIN", b" BEGIN ").replace(b"END", b" END").replace(b"ATE-----", b"ATE -----"),
        b"# of the plant\n#-----BEGIN CERTIFICATE-----\n#MIIA\n#-----END CERTIFICATE-----\n" + PEM,
    ],
)
def test_pem_is_the_same_however_it_was_carried(data: bytes) -> None:
    """Over Windows, in a JSON text, in an environment variable."""
    assert pem_of(data) == PEM


@pytest.mark.parametrize("data", [b"0\x82\x01\x00\0\0", b"", b"no block", b"\xe9" + PEM])
def test_what_is_no_pem_text_is_left_to_its_parser(data: bytes) -> None:
    """DER above all."""
    assert pem_of(data) == data
