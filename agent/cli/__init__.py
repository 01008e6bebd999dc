"""The command `iot-cert`: verbs in, exit codes out. It never shows a traceback.

Nothing heavy is imported before the verb that needs it is known.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from agent.cli.writing.output import Output
    from agent.config.values import Config


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from agent.cli.writing import standard  # noqa: PLC0415 - see the module's docstring

    try:
        if argv is None:
            _hear_ctrl_c(now=True)
            standard.speak_utf8()
        standard.prepare()
        code = _run(sys.argv[1:] if argv is None else list(argv))
        if argv is None:
            _hear_ctrl_c(now=False)  # the exit code is known, and the interpreter's own end is no place for a traceback
            gc.freeze()  # a search for garbage in what ends anyway is a tenth of a short command
    except (KeyboardInterrupt, RuntimeError) as error:  # before the command was known, while its modules were read
        if not is_ctrl_c(error):
            raise
        standard.complain("iot-cert: Stopped before anything was begun.")
        return 130  # `agent.core.exit_codes.Exit.INTERRUPTED`, whose module may not be read yet
    except SystemExit as end:  # argparse's own way to end
        return _shown(end.code if isinstance(end.code, int) else 0)
    return code


def is_ctrl_c(error: BaseException) -> bool:
    """Whether it is the signal. Where that meets the making of a class, Python before 3.12 tells of another error."""
    return isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)


def _hear_ctrl_c(*, now: bool) -> None:
    """Take the signal, which the launcher has had wait while Python itself started; or have it wait again."""
    # The module `signal` around it takes longer to import.
    import _signal  # type: ignore[import-not-found] # noqa: PLC0415

    _signal.pthread_sigmask(_signal.SIG_UNBLOCK if now else _signal.SIG_BLOCK, [_signal.SIGINT])


def _shown(code: int) -> int:
    """Return the exit code of what was only to show something: nothing shown is not done."""
    from agent.cli.writing import standard  # noqa: PLC0415 - see the module's docstring

    return 1 if standard.lost() and code == 0 else code


def _run(given: list[str]) -> int:
    from agent.cli.command_line import fast_path  # noqa: PLC0415 - see the module's docstring

    os.umask(0o077)
    path = fast_path.daemon(given)
    if path is not None:
        return _run_daemon(path)
    code = fast_path.status(given)
    return _main(given) if code is None else _shown(code)


def _run_daemon(path: str, *, as_json: bool = False) -> int:
    from agent.system import late  # noqa: PLC0415

    late.put_off()
    from pathlib import Path  # noqa: PLC0415

    from agent.cli.writing.output import Output  # noqa: PLC0415
    from agent.config.apart import load_apart  # noqa: PLC0415
    from agent.core.exit_codes import of_error  # noqa: PLC0415
    from agent.daemon import app  # noqa: PLC0415
    from agent.errors import AgentError  # noqa: PLC0415
    from agent.system import openssl  # noqa: PLC0415

    openssl.settle()
    try:
        return app.run(load_apart(Path(path)))
    except AgentError as error:
        code = of_error(error)
        Output(as_json=as_json).error(error, code)
        return code


def _main(argv: list[str]) -> int:
    from agent.system import late, openssl  # noqa: PLC0415

    late.put_off()
    from agent.cli.command_line import fast_path  # noqa: PLC0415
    from agent.cli.writing import silence  # noqa: PLC0415
    from agent.cli.writing.output import Output  # noqa: PLC0415
    from agent.cli.writing.terminal import call  # noqa: PLC0415

    arguments = fast_path.plain(argv) or _parsed(argv)
    if arguments.verb != "cloud":  # which runs on an operator's machine, and connects as other programs there do
        openssl.settle()
    output = Output(as_json=arguments.json, call=call(sys.argv[0], str(arguments.config), fast_path.DEFAULT_CONFIG))
    if not (arguments.json or arguments.verb in {"run", "sandbox"} or getattr(arguments, "watch", False)):
        silence.end()
    try:
        return _carry_out(arguments, output)
    finally:
        silence.over()


def _parsed(argv: list[str]) -> argparse.Namespace:
    from agent.cli.command_line.parser import parse  # noqa: PLC0415

    return parse(argv)


def _carry_out(arguments: argparse.Namespace, output: Output) -> int:
    from agent.core.exit_codes import Exit, of_error  # noqa: PLC0415
    from agent.errors import AgentError  # noqa: PLC0415

    try:
        code = int(_dispatch(arguments, output))
        return _shown(code) if _looks(arguments) else code
    except AgentError as error:
        code = int(getattr(error, "exit", of_error(error)))
        output.error(error, code)
        return code
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - no user is ever shown a traceback
        if not is_ctrl_c(error):
            return _defect(error, output)
        stopped = "Stopped. Nothing is lost: the change, if any, is kept, and the same command goes on with it."
        output.error(AgentError(stopped), Exit.INTERRUPTED)
        return Exit.INTERRUPTED


def _looks(arguments: argparse.Namespace) -> bool:
    """Whether a command only shows how things are; the exit code of another says what became of the order."""
    looks = {"status", "explain", "history", "check", "config", "cloud"}  # a token that is not shown is lost
    return arguments.verb in looks or getattr(arguments, "action", "") in {"list", "check"}


def _defect(error: BaseException, output: Output) -> int:
    """Say that the program is wrong. The text of an unexpected error may hold anything, so only its type is shown."""
    from agent.cli.surroundings import lack_of  # noqa: PLC0415
    from agent.core.exit_codes import Exit  # noqa: PLC0415
    from agent.errors import AgentError  # noqa: PLC0415

    if os.environ.get("IOT_CERT_TRACEBACK"):
        raise error
    lack = lack_of(error)
    if lack is not None:
        output.error(*lack)
        return lack[1]
    hint = "Please report it; IOT_CERT_TRACEBACK=1 shows where it happened. The set in use was not changed by it."
    output.error(AgentError(f"This is a defect in iot-cert ({type(error).__name__}).", hint=hint), Exit.DEGRADED)
    return Exit.DEGRADED


def _dispatch(arguments: argparse.Namespace, output: Output) -> int:
    match arguments.verb:
        case "sandbox":
            from agent.cli.elsewhere import sandbox  # noqa: PLC0415

            return sandbox.run(arguments, output)
        case "trust" if arguments.action == "publish" or getattr(arguments, "files", None):
            from agent.cli.elsewhere import publish  # noqa: PLC0415

            return publish.carry_out(arguments, output)  # on a machine that is no gateway
        case "cloud":
            from agent.cli.elsewhere import cloud  # noqa: PLC0415

            return cloud.carry_out(arguments, output)  # on a machine that is no gateway
        case "check":
            from agent.cli.looking import check  # noqa: PLC0415

            return check.carry_out(arguments, output)  # which also tells what is wrong with the configuration
        case "deploy":
            from agent.cli.changing import deploy  # noqa: PLC0415

            return deploy.carry_out(arguments, output)  # for which the configuration has to be root's
        case _:
            return _dispatch_on_gateway(arguments, output)


def _dispatch_on_gateway(arguments: argparse.Namespace, output: Output) -> int:
    from agent.config.reader import load  # noqa: PLC0415
    from agent.errors import ConfigError, StoreError  # noqa: PLC0415

    try:
        config = load(arguments.config)
    except ConfigError:
        code = _status_despite(arguments) if arguments.verb == "status" else None
        if code is None:
            raise
        return code
    try:
        return _with(config, arguments, output)
    except StoreError as error:
        from agent.cli.carrying import via_daemon  # noqa: PLC0415

        told = via_daemon.for_this_user(config, error)
        raise told from error.__cause__


def _with(config: Config, arguments: argparse.Namespace, output: Output) -> int:
    match arguments.verb:
        case "support-bundle":
            from agent.cli.looking import support  # noqa: PLC0415

            return support.carry_out(config, arguments, output)
        case "report":
            from agent.cli.looking import report  # noqa: PLC0415

            return report.carry_out(config, arguments, output)
        case "import":
            from agent.cli.changing import importing  # noqa: PLC0415

            return importing.carry_out(config, arguments, output)
        case "trust":
            from agent.cli.changing import trust  # noqa: PLC0415

            return trust.carry_out(config, arguments, output)
        case "run":
            return _run_daemon(str(arguments.config), as_json=output.as_json)
        case "enroll" | "rotate" | "rollback" | "confirm":
            from agent.cli.changing import changes  # noqa: PLC0415

            return changes.run(config, arguments, output)
        case "pause" | "resume" | "retire":
            from agent.cli.changing import holds  # noqa: PLC0415

            return holds.carry_out(config, arguments, output)
        case _:
            return _look(config, arguments, output)


def _look(config: Config, arguments: argparse.Namespace, output: Output) -> int:
    if arguments.verb == "config" and arguments.action == "hand-over":
        from agent.cli.changing import hand_over  # noqa: PLC0415

        return hand_over.carry_out(config, output)
    if arguments.verb == "config":
        from agent.cli.changing import config_check  # noqa: PLC0415

        return config_check.carry_out(config, output)
    from agent.cli.looking import status  # noqa: PLC0415

    return status.carry_out(config, arguments, output)


def _status_despite(arguments: argparse.Namespace) -> int | None:
    """Show how the gateway is although its configuration was broken: the daemon goes on with the one it read."""
    from agent.cli.command_line import fast_path  # noqa: PLC0415
    from agent.config.reader import runtime_dir  # noqa: PLC0415

    found = runtime_dir(arguments.config)
    return fast_path.despite(
        str(arguments.config), str(found) if found else None, as_json=arguments.json, again=arguments.watch
    )
