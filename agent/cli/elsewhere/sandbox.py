"""The verb `sandbox`: run a local AWS IoT Core, or give an order to one that runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from agent.core.exit_codes import Exit
from agent.errors import AgentError

if TYPE_CHECKING:
    import argparse

    from agent.cli.writing.output import Output
    from agent.sandbox.service import LocalCloud


def run(arguments: argparse.Namespace, output: Output) -> Exit:
    """Run the sandbox until it is stopped, or carry an order to it.

    Raises:
        AgentError: It cannot be started, or refuses the order.
    """
    try:
        from agent.sandbox.process import runner  # noqa: PLC0415 - it is not part of a gateway's package
    except ImportError as error:
        if (error.name or "").startswith("agent.sandbox"):
            raise AgentError(
                "The sandbox is not part of this package: run it from the project's source, on a developer's machine."
            ) from error
        raise AgentError(
            f"The sandbox needs the Python package {error.name}, which is not installed.",
            hint="Install iot-cert-agent with the extra `sandbox`.",
        ) from error
    if arguments.order:
        answer = runner.send(arguments.dir, " ".join(arguments.order))
        output.tell({"answer": answer}, *answer.splitlines())
        return Exit.DONE
    lifetime = timedelta(seconds=arguments.lifetime) if arguments.lifetime else None

    def started(service: LocalCloud) -> None:
        _introduce(service, arguments, output)

    runner.run(
        arguments.dir,
        name=(arguments.host, arguments.listen),
        lifetime=lifetime,
        probation=arguments.probation,
        started=started,
    )
    return Exit.DONE


def _introduce(service: LocalCloud, arguments: argparse.Namespace, output: Output) -> None:
    path = arguments.dir / "config.yaml"
    command = output.call.partition(" ")[0]
    text = f"""\
A local AWS IoT Core listens on {service.host}, port {service.port} (with ALPN: {service.alpn_port}).
It forgets everything when it stops. In another terminal:

  {command} --config {path} enroll
  {command} --config {path} status
  {command} --config {path} rotate
  {command} sandbox --dir {arguments.dir} fault register never-active
  {command} --config {path} rotate          (it falls back)
  {command} sandbox --dir {arguments.dir} help

Ctrl-C stops it."""
    told = {"config": str(path), "port": service.port, "alpn_port": service.alpn_port}
    output.tell(told, *text.splitlines())
