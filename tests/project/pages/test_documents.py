"""Manual pages, completion and the files of the Debian package: they say what the program says, and are sound."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agent.cli.command_line.parser import parse
from agent.core.exit_codes import Exit
from agent.core.report.checks import CHECKS
from support.documents.pages import PAGES, inline, typed

ROOT = Path(__file__).parents[3]
PACKAGING = ROOT / "packaging"
MANUAL = sorted((PACKAGING / "man").iterdir())
COMPLETION = PACKAGING / "completion" / "iot-cert.bash"
DOCUMENTS = sorted(
    [*PAGES, *(path for place in (ROOT, PACKAGING, ROOT / "config" / "examples") for path in place.glob("*.md"))]
)
SECTION = re.MULTILINE | re.DOTALL
SHEBANG = re.compile(rb"#!/bin/(ba)?sh\n")


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what `--help` says of the command, a verb or an action."""
    with pytest.raises(SystemExit):
        parse([*words, "--help"])
    return capsys.readouterr().out


def verbs(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Return the verbs, or the actions of one."""
    return re.findall(r"^    ([a-z-]+)(?:  |$)", helped(capsys, *words), flags=re.MULTILINE)


def commands(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, ...]]:
    """Return every verb, with its actions where it has some."""
    found: list[tuple[str, ...]] = []
    for verb in verbs(capsys):
        actions = verbs(capsys, verb) if verb in {"cloud", "config", "trust"} else []
        found += [(verb, action) for action in actions] or [(verb,)]
    return found


def options(capsys: pytest.CaptureFixture[str], *words: str) -> set[str]:
    """Return the long options of a verb."""
    return set(re.findall(r"--[a-z][a-z0-9-]+", helped(capsys, *words).split("\n\n")[0]))


def plain(page: Path) -> str:
    """Return the text of a manual page without what roff needs."""
    text = re.sub(r"\\f.|\\&", "", page.read_text().replace("\\-", "-"))
    return re.sub(r'^\.[A-Z]+ |"', "", text, flags=re.MULTILINE)


def completed(line: str) -> set[str]:
    """Return what bash offers for the last word of a line."""
    words = line.split(" ")
    script = (
        f"source {shlex.quote(str(COMPLETION))}; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; "
        '_iot_cert; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return set(subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.split())


def test_the_manual_names_every_verb_and_option(capsys: pytest.CaptureFixture[str]) -> None:
    """And no verb that there is not."""
    page = plain(PACKAGING / "man" / "iot-cert.1")
    for words in commands(capsys):
        assert re.search(rf"^{' '.join(words)}\b", page, flags=re.MULTILINE), words
        for option in options(capsys, *words):
            assert option in page, (words, option)
    known = {option for words in commands(capsys) for option in options(capsys, *words)}
    assert set(re.findall(r"--[a-z][a-z0-9-]+", page)) <= known | {"--config", "--help", "--version"}


def test_the_manual_names_every_exit_code() -> None:
    """Each number has a paragraph."""
    page = plain(PACKAGING / "man" / "iot-cert.1")
    section = page.partition("EXIT STATUS")[2].partition("WHO MAY")[0]
    assert {int(code) for code in re.findall(r"^(\d+)$", section, flags=re.MULTILINE)} == {code.value for code in Exit}


def test_bash_offers_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Verbs, the actions of two of them, the doctor's checks, and the options of each."""
    assert completed("iot-cert ") >= set(verbs(capsys))
    assert completed("iot-cert ro") == {"rotate", "rollback"}
    assert completed("iot-cert trust ") == {*verbs(capsys, "trust"), "--help"}
    assert completed("iot-cert check ") >= set(CHECKS)
    for words in commands(capsys):
        offered = completed(f"iot-cert --config /etc/x {' '.join(words)} --")
        assert offered == options(capsys, *words) | {"--help"}, words


@pytest.mark.parametrize("name", ["_iot-cert", "iot-cert.fish"])
def test_zsh_and_fish_offer_what_there_is(name: str, tmp_path: Path) -> None:
    """Their files are what `make completion` writes from the parser of today, and the package ships them."""
    subprocess.run([sys.executable, PACKAGING / "completion.py", tmp_path], check=True)
    written = (COMPLETION.parent / name).read_text()
    assert written == (tmp_path / name).read_text(), "run `make completion`"
    assert f"packaging/completion/{name} usr/share/" in (PACKAGING / "build-deb").read_text()


def test_zsh_and_fish_are_offered_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """Of each verb and action where it stands, a file where a file is meant, and the words where these are known."""
    fish = (COMPLETION.parent / "iot-cert.fish").read_text()
    functions = dict(
        re.findall(r"^(_iot-cert\S*)\(\) \{$(.*?)^\}$", (COMPLETION.parent / "_iot-cert").read_text(), SECTION)
    )
    for words in commands(capsys):
        at = rf"^complete -c iot-cert -n '__iot_cert_in {' '.join(words)}' .*?-l (\S+)"
        wanted = options(capsys, *words) - {"--help"}
        assert {f"--{name}" for name in re.findall(at, fish, flags=re.MULTILINE)} == wanted, words
        within = functions["_".join(("_iot-cert", *words))]
        assert set(re.findall(r"'\*?(--[a-z0-9-]+)[=\['']", within)) == wanted, words
    assert "-n '__iot_cert_in cloud rotate' -l by -x -a 'job shadow'" in fish
    assert "-n '__iot_cert_in import' -l from -r -F" in fish
    assert f"-n '__iot_cert_in check' -a '{' '.join(CHECKS)}'" in fish
    assert f":NAME:({' '.join(CHECKS)})'" in functions["_iot-cert_check"]
    assert ":WAY:(job shadow)'" in functions["_iot-cert_cloud_rotate"]
    assert "'*--from=[a directory, or files: PEM, DER, PKCS #12]:PATH:_files'" in functions["_iot-cert_import"]


@pytest.mark.parametrize("page", MANUAL, ids=lambda page: page.name)
def test_a_page_is_what_its_name_says(page: Path) -> None:
    """The title and the section agree with the file's name, and the parts that people look for are there."""
    name, _, section = page.name.rpartition(".")
    assert page.read_text().startswith(f".TH {name.upper()} {section} ")
    assert f"\n{name} - " in plain(page)
    assert re.findall(r"^\.SH (\w+)", page.read_text(), flags=re.MULTILINE)[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]


def arguments(command: str) -> list[str] | None:
    """Return what a command line gives `iot-cert`, with a value for each placeholder; None when it is another's."""
    words = shlex.split(command.replace("[...]", "").replace("$USER", "user").replace("iot-cert-agent_*.deb", ""))
    if words[:1] == ["sudo"]:
        words = words[1:]
    if not words or words[0] not in {"iot-cert", ".venv/bin/iot-cert"}:
        return None
    return ["ab" * 32 if word == "ID" else word for word in words[1:]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_gives_commands_that_the_program_takes(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a block of shell each is parsed; in a sentence its verb and options are known."""
    text = document.read_text()
    for line in typed(text):
        given = arguments(line)
        if given is not None and given[0] != "help":
            parse(given)
    known = verbs(capsys)
    for code in inline(text):
        given = arguments(code) if code.startswith(("iot-cert ", "sudo iot-cert ")) else None
        if given and given[0] in known:
            words = given[:2] if given[0] in {"cloud", "config", "trust"} else given[:1]
            named = {word for word in given if word.startswith("--")}
            assert named <= options(capsys, *words) | {"--help"}, (document.name, code)
        elif given:
            assert given[0] in {"--version", "VERB"}, (document.name, code)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_document_names_what_is_there(document: Path) -> None:
    """Files and folders of the tree, targets of make, links."""
    text = document.read_text()
    roots = {path.name for place in (ROOT, ROOT / "agent") for path in place.iterdir()}
    for code in inline(text):
        if re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+/?", code) and code.split("/")[0] in roots - {
            "build",
            "dist",
        }:
            places = [ROOT / code, ROOT / "agent" / code, document.parent / code]
            assert "VERSION" in code or any(path.exists() for path in places), (document.name, code)
    makefile = (ROOT / "Makefile").read_text()
    for target in [code.split()[1] for code in [*inline(text), *typed(text)] if code.startswith("make ")]:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), (document.name, target)
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in link or (document.parent / link).exists(), (document.name, link)


def test_no_document_says_where_packages_come_from() -> None:
    """The operator who installs them decides that: a mirror, a cache, a folder."""
    hosts = re.compile(r"pypi\.org|pythonhosted|piwheels|index-url", re.IGNORECASE)
    assert [path.name for path in DOCUMENTS if hosts.search(path.read_text())] == []


def test_the_copyright_file_names_each_package_that_is_shipped() -> None:
    """Whatever the lock file brings has a paragraph."""
    text = (PACKAGING / "debian" / "copyright").read_text()
    named = re.findall(r"site-packages/\*?([a-z]+)", text)
    for locked in re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "run.txt").read_text(), flags=re.MULTILINE):
        assert any(name in locked for name in named), locked


def test_what_is_not_locked_is_the_distributions() -> None:
    """One library has no wheel: the package depends on Debian's, and so do the recipe and the tree itself."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=]", requirement)[0] for requirement in needed}
    locked = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "run.txt").read_text(), flags=re.MULTILINE)
    assert names - set(locked) == {"systemd-python"}
    (recipe,) = (PACKAGING / "yocto").glob("*.bb")
    for place in (PACKAGING / "debian" / "control", recipe, ROOT / ".ci" / "prepare"):
        assert "python3-systemd" in place.read_text(), place


def scripts() -> list[Path]:
    """Return every file of the tree that a shell runs."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    files = [ROOT / name for name in listed]
    return [path for path in files if path.is_file() and SHEBANG.match(path.read_bytes()[:40])]


def test_scripts_stop_at_the_first_error() -> None:
    """Each says so in its first lines, and is a script that its shell understands."""
    for script in scripts():
        head = script.read_text().splitlines()
        assert {"set -e", "set -eu", "set -euo pipefail"} & set(head), script
        shell = head[0].removeprefix("#!")
        subprocess.run([shell, "-n", script], check=True)


def test_shellcheck_reads_every_script() -> None:
    """`make check` names them, since a tree without git has to be checked too."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    named = re.findall(r"^SCRIPTS = (.*)$", makefile, flags=re.MULTILINE)[0].split()
    assert {path.relative_to(ROOT).as_posix() for path in (*scripts(), COMPLETION)} == set(named)
