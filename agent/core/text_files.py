r"""Text in files, as real machines write it: the one reader of what becomes a value, a password or a list.

Firmware ends a string with NUL (device tree), Windows puts a byte order mark before it, writes UTF-16 and ends lines
with CR LF and the file with Ctrl-Z, an old Mac with CR, a shell's `echo` leaves a line end or the two characters
``\n``, an editor a blank. None of that is a part of what is meant. What is no text is refused rather than guessed.
"""

from __future__ import annotations

import re

_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe\0\0", "utf-32-le"), (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"),
)  # fmt: skip
_PADDING = "\0\x1a"  # of a whole buffer or block, and Ctrl-Z, with which DOS ended a text
_ERASED = b"\xff"  # what flash and EEPROM hold behind what was written
_MARK = "\ufeff"  # as text: of a mark that was written twice
# What comes along from a web page or a table: soft hyphens, joiners, and marks of where a line runs from right to left.
_UNSEEN = _MARK + "".join(
    map(chr, (0xAD, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)))
)
_AROUND = _PADDING + _UNSEEN + "".join(filter(str.isspace, map(chr, range(0x3001))))  # blanks of every kind among it
LOST = b"\0\xff \t\r\n"  # bytes that a copy which was cut off, and erased flash, consist of
# What no base64 has in it, as PEM has it.
_IN_PEM = {
    **{ord(char): " " for char in _AROUND if char.isspace() and char != "\n"},
    **dict.fromkeys(map(ord, "\v\f\x1c\x1d\x1e\x85\u2028\u2029"), "\n"),
    **dict.fromkeys(map(ord, _UNSEEN)),
}
_QUOTED = re.compile(r"^(?: *[>|])+ *", re.MULTILINE)  # as mail and tickets have it
_COMMENT = re.compile(r"^ *#.*\n?", re.MULTILINE)
_DASHES = "[-\u2010-\u2015\u2212\ufe58\ufe63\uff0d]{2,10}"  # a word processor's, too
_BOUNDARY = re.compile(f"{_DASHES} {{0,2}}(BEGIN|END) {{1,2}}([A-Z][A-Z0-9 ]{{,40}}?) {{0,2}}{_DASHES}")
_LEAST = 4  # bytes, of which every other one is NUL, that are UTF-16 without a mark


_WRITTEN_ENDS = ("\\n", "\\r", "\\0", "\\x00", "\\u0000")
_QUOTES = ('"', "'", "`", "\u201c\u201d", "\u2018\u2019", "\u201e\u201c", "\u00ab\u00bb")


class NoTextError(Exception):
    """The content of a file that is to be text and is none; its text is a reason without the content."""


class EmptyError(NoTextError):
    """There is nothing where text is to be."""


def text_of(data: bytes) -> str:
    """Return the text that a file holds, its lines ended by line feeds alone and nothing of NUL or a mark in it.

    Raises:
        NoTextError: It is no text.
    """
    return decoded(data).replace("\r\n", "\n").replace("\r", "\n")


def decoded(data: bytes) -> str:
    """Return the text that a file holds with its ends of lines as they are, for a parser that takes all of them.

    Raises:
        NoTextError: It is no text.
    """
    mark, encoding = _encoding(data)
    written = data[len(mark) :]
    try:
        text = (written.rstrip(_ERASED) if encoding == "utf-8" else written).decode(encoding)
    except UnicodeDecodeError as error:
        raise NoTextError(f"it is not {encoding.upper()} text (byte {len(mark) + error.start})") from None
    text = text.lstrip(_MARK).rstrip(_PADDING)
    if "\0" in text:
        text = text.rstrip(_AROUND)  # a line was ended after the padding
    if "\0" in text:
        raise NoTextError("it is no text: there is a NUL in it")
    return text


def _encoding(data: bytes) -> tuple[bytes, str]:
    """Return the mark that the content begins with, and how what follows is encoded."""
    return next(((mark, name) for mark, name in _MARKS if data.startswith(mark)), (b"", _without_mark(data)))


def _without_mark(data: bytes) -> str:
    """Return UTF-16 where every other byte of plain characters is NUL; UTF-8 otherwise."""
    if len(data) >= _LEAST and len(data) % 2 == 0:
        if not any(data[1::2]) and all(data[::2].rstrip(b"\0")):
            return "utf-16-le"
        if not any(data[::2]) and all(data[1::2].rstrip(b"\0")):
            return "utf-16-be"
    return "utf-8"


def value_of(data: bytes) -> str:
    r"""Return the one value that a file holds, such as a serial number, without blanks and ends of lines around it.

    A line end or a NUL that was written as characters, ``\n`` or ``\0``, is one, too.

    Raises:
        NoTextError: It holds no text, nothing, or more than one line.
    """
    text = text_of(data).strip(_AROUND)
    while written := next(filter(text.endswith, _WRITTEN_ENDS), ""):
        text = text.removesuffix(written).rstrip(_AROUND)
    if not text:
        raise EmptyError("there is nothing in it")
    if not text.isprintable():
        raise NoTextError("it is not one line of plain text")
    return text


def in_quotes(value: str) -> bool:
    """Whether a value stands in quotes, as in a file that was written for a shell: they are a part of it."""
    return len(value) > 1 and any((value[0], value[-1]) == (marks[0], marks[-1]) for marks in _QUOTES)


def password_of(data: bytes) -> str:
    """Return the password that a file holds: its first line as it is, blanks included, without the line's end.

    Raises:
        NoTextError: It holds no text; `EmptyError` when the line is empty.
    """
    if _encoding(data)[1] == "utf-8":  # what follows the line need not be text
        data = data.replace(b"\r", b"\n").partition(b"\n")[0]
    line = text_of(data).partition("\n")[0]
    if not line:
        raise EmptyError("its first line is empty")
    return line


def pem_of(data: bytes) -> bytes:
    r"""Return PEM as parsers want it: without a mark, in ASCII, with lines that end in line feeds.

    PEM that was carried in one line, with ``\n`` written out, gets its lines back. Of PEM out of a mail, a ticket or a
    word processor, marks of quoting, strange blanks and dashes are put right. A line that begins with ``#`` is a
    comment: a certificate that was commented out is not there. What is no text is returned as it is: it may be DER,
    and its parser says what it is.
    """
    try:
        text = text_of(data)
    except NoTextError:
        return data
    if "\\n" in text:
        text = text.replace("\\r", "").replace("\\n", "\n")
    text = _BOUNDARY.sub(r"-----\1 \2-----", _QUOTED.sub("", text.translate(_IN_PEM)))
    return _COMMENT.sub("", text).encode() if "-----BEGIN " in text else data
