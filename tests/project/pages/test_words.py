"""The glossary's marked words are used: a synonym that was given up comes back in no text that a person reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from support.documents import sources
from support.documents.pages import PAGES

ROOT = Path(__file__).parents[3]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
ROWS = [row.strip("| ").split(" | ") for row in re.findall(r"^\| .*$", GLOSSARY, flags=re.MULTILINE)][2:]
# What stands in the glossary with a star, as it would stand in a sentence.
GIVEN_UP = {
    "its turn": r"\b(its|whose|certificate's) turns?\b",
    "opens TLS": r"\bopens? TLS\b",
    "not looked at": r"\bnot looked at\b",
    "asks for patience": r"\basks? for patience\b",
    "other hands": r"\bother hands\b",
}
JOINTS = re.compile(r"""["']\s*[fbr]{0,2}["']""")
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "systemd/iot-cert-agent.catalog")),
    *sorted((ROOT / "packaging").rglob("*.md")),
    *sorted((ROOT / "packaging" / "man").iterdir()),
    *sorted((ROOT / "config").rglob("*.md")),
    ROOT / "config" / "config.yaml",
    *(path for path in PAGES if path.name != "glossary.md"),
    ROOT / "CHANGELOG.md",
]


def texts(path: Path) -> list[str]:
    """Return the texts of a module that may be shown to a person: all but docstrings.

    Where nothing that was given up stands in the whole of it, however its texts are put together, none is looked for.
    """
    source = path.read_text()
    if not given_up(JOINTS.sub("", source.replace("\\n", " "))):
        return []
    nodes = sources.walk(ast.parse(source))
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in nodes
        if isinstance(node, holders) and node.body and isinstance(node.body[0], ast.Expr)
    }
    found = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return [node.value for node in found if isinstance(node.value, str)]


def given_up(text: str) -> list[str]:
    """Return the words in a text that are not used any more; a line break is a space."""
    flat = re.sub(r"\s+", " ", text)
    return [word for word, pattern in GIVEN_UP.items() if re.search(pattern, flat, re.IGNORECASE)]


def test_the_marked_words_are_those_that_are_looked_for() -> None:
    """So a star in the glossary is no decoration."""
    marked = {word.strip() for row in ROWS for word in re.findall(r"([a-zA-Z ]+) \*", row[2])}
    assert marked == set(GIVEN_UP)


def test_the_glossary_has_a_term_once_and_in_order() -> None:
    """A term, what it means, and what it is not called."""
    assert all(len(row) == 3 and all(row) for row in ROWS), ROWS
    terms = [row[0] for row in ROWS]
    assert len(set(terms)) == len(terms) >= 25


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_uses_the_words(path: Path) -> None:
    """Whatever line they break on."""
    assert given_up(path.read_text()) == []


def test_messages_use_the_words() -> None:
    """Every text in the agent, the rehearsal's included; codes are no words and stay what they were."""
    found = {
        (path.relative_to(ROOT).as_posix(), text)
        for path in sorted((ROOT / "agent").rglob("*.py"))
        for text in texts(path)
        if given_up(text)
    }
    assert found == set()


@pytest.mark.parametrize(
    "source",
    [
        'say("It was not looked at.")',
        'say("It was not "\n    f"looked {at}")\nsay(f"{it} was not "\n    f"looked at.")',
        "say('It was \"not\\nlooked at\".')",
        'say("""It was not\n    looked at.""")',
    ],
)
def test_a_message_is_found_however_it_is_put_together(tmp_path: Path, source: str) -> None:
    """Over lines, in pieces and between quotes."""
    path = tmp_path / "it.py"
    path.write_text(f'"""Its docstring."""\n{source}\n')
    assert any(map(given_up, texts(path)))


def test_a_docstring_is_no_message(tmp_path: Path) -> None:
    """It is for engineers, who may look at what is not looked at."""
    path = tmp_path / "it.py"
    path.write_text(
        '"""It was not looked at."""\n\ndef say():\n    """It was not looked at."""\n    return "It was."\n'
    )
    assert texts(path) == ["It was."]


def test_what_was_given_up_is_found() -> None:
    """In any case and over a line's end; in a code, which has hyphens, it is not."""
    assert given_up("It was not\n  looked at. Its turn comes.") == ["its turn", "not looked at"]
    assert given_up("not-looked-at") == []


NO_NOUNS = ("nobody", "whoever", "somebody", "anybody")
NO_NOUN = re.compile("|".join(NO_NOUNS), re.IGNORECASE)
# The kernel's user of that name, and a token in records of 0.1.0.
NAMES = re.compile(r"NOBODY|\"nobody\"|belongs to nobody and not to root|token-that-nobody-may-see")


def test_a_module_says_who_acts() -> None:
    """A caller, a client, a process, an operator, a peer; in the names of functions and tests, too."""
    modules = {path for folder in ("agent", "tests") for path in (ROOT / folder).rglob("*.py")} - {Path(__file__)}
    found = {
        (path.relative_to(ROOT).as_posix(), line)
        for path in modules
        for text in [path.read_text()]
        if any(word in text.casefold() for word in NO_NOUNS)  # which few files have in any way
        for line in text.splitlines()
        if NO_NOUN.search(NAMES.sub("", line))
    }
    assert found == set()


def test_what_says_it_is_found() -> None:
    """In any place and case; a user's name is none of it."""
    found = ["Somebody's", "test_nobody_waits", "by whoever asks"]
    assert all(NO_NOUN.search(NAMES.sub("", text)) for text in found)
    assert not NO_NOUN.search(NAMES.sub("", 'Role.NOBODY, user="nobody"'))


# A number in a text, and what it counts: where that can be one, the text is made by `agent.core.text.counted`.
COUNTED = re.compile(
    r"\{[^{}]*\} (?:wrong |watched )?(anchors|certificates|days|dependants|entries|files|gateways|hooks|keys|lines|"
    r"policies|rounds|rows|serials|shadows|signatures|steps|things|times|tokens|topics)\b"
)
MORE_THAN_ONE = {
    "{MOST_BOUGHT} certificates", "{len(held.things)} things", "{requests} times", "{len(files)} files",
    "{len(facts)} anchors", "{MAX_ENTRIES} entries", "{len(facts)} certificates", "{MAX_FILES} files",
    "{gateways} gateways", "{calm} gateways", "{ROUNDS} rounds", "{most} things", "{len(records)} certificates",
    "{number} dependants", "{number} watched files", "{times} times", "{record.resumes} times",
    "{len(issuance.chain)} certificates", "{len(recent)} times", "{len(names)} hooks", "{len(needed)} topics",
    "{days:.0f} days", "{failures} wrong tokens", "{len(matches)} certificates",
    "{MOST_POLICIES} policies",
    "{len(item.attachments)} things", "{len(item.policies)} policies",
}  # fmt: skip


def test_one_of_a_thing_is_told_as_one() -> None:
    """Of "1 certificates" a reader thinks that a program has miscounted. What is named here cannot be one."""
    found = {
        match[0]
        for path in sorted((ROOT / "agent").rglob("*.py"))
        for match in COUNTED.finditer(re.sub(r'"\s+f?"', "", path.read_text()))
    }
    assert found == MORE_THAN_ONE


# A path in a command that is advised; what is no path needs no quotes.
TYPED = re.compile(r"\b(?:sudo|openssl|lsattr) [^\"\n]*?\{(?!in_shell\()[^{}]*\}")
NO_PATH = {"{change}", "{command}", "{form}", "{options}", "{unit.name}"}


def test_a_command_that_is_advised_can_be_typed_whatever_is_in_its_paths() -> None:
    """A blank would make two words of it."""
    found = {
        match[0][match[0].rindex("{") :]
        for path in sorted((ROOT / "agent").rglob("*.py"))
        for match in TYPED.finditer(path.read_text())
    }
    assert found == NO_PATH
    assert TYPED.search("`sudo chmod +x {in_shell(program)} {program}`")
