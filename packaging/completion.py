"""Write the completion for zsh and fish from the command line's parser: `completion.py OUTDIR`.

What is offered, and the text beside it, is what `--help` says; a test compares the files in `completion/` with it. Bash
has no texts beside its words, so its completion is short enough to be written by hand.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.command_line.parser import command_line
from agent.core.report.checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = "# Written by `make completion` from the parser of the command line."

FISH = """\
{head}

# Prints what was typed so far and is neither an option nor the value of one: the verb, its action, what follows them.
function __iot_cert_words
    set -l typed (commandline -opc)
    set -l found
    set -l skip no
    set -e typed[1]
    for word in $typed
        if test $skip = yes
            set skip no
            continue
        end
        switch $word
            case {valued}
                set skip yes
            case '-*'
            case '*'
                set -a found $word
        end
    end
    printf '%s\\n' $found
end

# Succeeds where just these words were typed.
function __iot_cert_at
    set -l found (__iot_cert_words)
    test "$found" = "$argv"
end

# Succeeds after these words.
function __iot_cert_in
    set -l found (__iot_cert_words)
    string match -q -- "$argv *" "$found "
end

complete -c iot-cert -f
complete -c iot-cert -s h -l help -d 'show this help message and exit'
"""

ZSH = """\
#compdef iot-cert
{head}

{functions}
if [[ $funcstack[1] == _iot-cert ]]; then
    _iot-cert "$@"
else
    compdef _iot-cert iot-cert
fi
"""

ZSH_GROUP = """\
    case $state in
        word)
            local -a known=(
{known}
            )
            _describe -t commands {metavar} known
            ;;
        rest) (( $+functions[{name}_$line[1]] )) && {name}_$line[1] ;;
    esac
"""


def commands(parser: argparse.ArgumentParser, *words: str) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Return the command, and each verb and action: its words and its parser."""
    yield words, parser
    for group in groups(parser):
        for name, below in group.choices.items():
            yield from commands(below, *words, name)


def groups(parser: argparse.ArgumentParser) -> list[Any]:
    """Return the verbs of the command, or the actions of a verb: a list of none or one."""
    return [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the options but `--help`."""
    return [action for action in parser._actions if action.option_strings and action.dest != "help"]


def operands(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return what stands on its own, and what may follow the first value of an option."""
    return [
        action
        for action in parser._actions
        if action.nargs in {"+", "*"} or not (action.option_strings or isinstance(action, argparse._SubParsersAction))
    ]


def named(action: argparse.Action) -> str:
    """Return what `--help` calls a value."""
    return str(action.metavar or action.dest)


def offered(action: argparse.Action, words: tuple[str, ...], verbs: list[str]) -> list[str]:
    """Return the words that a value may be, where these are known."""
    if words == ("help",):
        return verbs
    return list(CHECKS) if words == ("check",) and action.dest == "names" else list(action.choices or ())


def fish(whole: argparse.ArgumentParser) -> str:
    """Return the completion for fish."""
    verbs = list(groups(whole)[0].choices)
    valued = {action.option_strings[-1] for _, one in commands(whole) for action in options(one) if action.nargs != 0}
    lines = [FISH.format(head=HEAD, valued=" ".join(sorted(valued)))]
    for words, parser in commands(whole):
        at = " ".join(words)
        test = f"-n '__iot_cert_{'at' if groups(parser) else 'in'} {at}'" if at else "-n '__iot_cert_at'"
        for group in groups(parser):
            lines += [
                f"complete -c iot-cert {test} -a {one.dest} -d {_fish_quoted(one.help)}\n"
                for one in group._choices_actions
            ]
        for action in options(parser):
            text = f" -d {_fish_quoted(action.help)}" if action.help else ""
            value = _fish_value(action, offered(action, words, verbs)) if action.nargs != 0 else ""
            lines.append(f"complete -c iot-cert {test} -l {action.option_strings[-1][2:]}{value}{text}\n")
        for action in operands(parser):
            value = _fish_value(action, offered(action, words, verbs)).removeprefix(" -x").removeprefix(" -r")
            lines += [f"complete -c iot-cert {test}{value}\n"] if value else []
    return "".join(lines)


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_value(action: argparse.Action, known: list[str]) -> str:
    if known:
        return f" -x -a '{' '.join(known)}'"
    if named(action) == "DIR":
        return " -x -a '(__fish_complete_directories)'"
    return " -r -F" if _is_path(action) else " -x"


def _is_path(action: argparse.Action) -> bool:
    return action.type is Path or "DIR" in named(action).split("|")


def zsh(whole: argparse.ArgumentParser) -> str:
    """Return the completion for zsh."""
    verbs = list(groups(whole)[0].choices)
    functions = [_zsh_function(words, parser, verbs) for words, parser in commands(whole)]
    return ZSH.format(head=HEAD, functions="\n".join(functions))


def _zsh_function(words: tuple[str, ...], parser: argparse.ArgumentParser, verbs: list[str]) -> str:
    specs = ["'(- *)'{-h,--help}'[show this help message and exit]'"]
    for action in options(parser):
        repeated = "*" if isinstance(action, argparse._AppendAction) or action.nargs == "+" else ""
        equals = "" if action.nargs == 0 else "="
        value = "" if action.nargs == 0 else _zsh_value(action, offered(action, words, verbs))
        text = "[" + re.sub(r"([][])", r"\\\1", action.help) + "]" if action.help else ""
        specs.append(shlex.quote(f"{repeated}{action.option_strings[-1]}{equals}{text}{value}"))
    for action in operands(parser):
        each = "*" if action.nargs in {"+", "*"} else ""
        specs.append(shlex.quote(f"{each}{_zsh_value(action, offered(action, words, verbs))}"))
    name, tail = "_".join(("_iot-cert", *words)), ""
    for group in groups(parser):
        specs += ["'(-)1: :->word'", "'(-)*:: :->rest'"]
        known = "\n".join(f"{' ' * 16}{shlex.quote(f'{one.dest}:{one.help}')}" for one in group._choices_actions)
        tail = ZSH_GROUP.format(known=known, metavar=group.metavar, name=name)
    head = f"{name}() {{\n    local curcontext=$curcontext state line\n    typeset -A opt_args\n"
    called = " \\\n        ".join(["    _arguments -C", *specs])
    return f"{head}{called}\n{tail}}}\n"


def _zsh_value(action: argparse.Action, known: list[str]) -> str:
    if known:
        return f":{named(action)}:({' '.join(known)})"
    how = "_files -/" if named(action) == "DIR" else "_files" if _is_path(action) else " "
    return f":{named(action)}:{how}"


def main(outdir: str) -> None:
    """Write both files."""
    whole = command_line()
    (Path(outdir) / "_iot-cert").write_text(zsh(whole))
    (Path(outdir) / "iot-cert.fish").write_text(fish(whole))


if __name__ == "__main__":
    main(*sys.argv[1:])
