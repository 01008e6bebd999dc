"""An operator's machine before moto: the command `iot-cert cloud`, each request held to AWS's models."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.loaders import Loader

from agent.backend.names import Variable
from agent.cli.command_line.parser import parse
from agent.cli.writing.output import Output
from agent.errors import AgentError
from agent.fleet import verbs
from agent.fleet.task import OperatorTerminal
from reference import documents
from support.aws.moto_account import ENVIRONMENT, NUMBER, REGION, AwsWorld
from support.aws.own_signer import keep_keys, name_cas, sign_digests
from support.aws.strict import Strict
from support.documents.json_schema import misfits

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

WHOLE = documents.whole()
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
_OUTPUTS = {
    "Prefix": "iot-cert",
    "DevicesTable": ENVIRONMENT[Variable.DEVICES],
    "CertificatesTable": ENVIRONMENT[Variable.CERTIFICATES],
    "EnrolmentTemplate": "gateway",
    "RotationTemplate": "gateway-rotation",
    "ClaimPolicy": "iot-cert-claim",
    "SessionPolicy": "iot-cert-gateway-session",
    "RotationPolicy": "iot-cert-gateway-rotation",
}


_MODELS = Loader(extra_search_paths=[str(Path(boto3.__file__).parent / "data")])  # those of all services, read once


def _session() -> botocore.session.Session:
    made = botocore.session.Session()
    made.register_component("data_loader", _MODELS)
    return made


def _hold(action: str, said: str) -> None:
    """Hold what a verb has printed to the schema of the reference, which names every key."""
    schema = WHOLE["$defs"][f"iot-cert-cloud-{action}"]
    for line in said.splitlines():
        assert list(misfits(schema, json.loads(line), whole=WHOLE, closed=True)) == [], line


class Interrupted(BaseException):
    """The operator's machine lost power."""


class Operator:
    """The fleet's operator at a terminal.

    Attributes:
        world: The account.
        strict: What the command asked AWS for.
        now: The time at which it is run.
        typed: What the operator types when asked; None without a terminal.
        asked: What the command asked the operator.
        pauses: How long the command has waited between two things.
        calls: The operations that the command asked AWS for, in order.
        given: What it gave AWS with the last call of each operation.
        cut_at: How many of them there are before the machine loses power; None where it does not.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.strict, self.now = AwsWorld(), Strict(), NOW
        self.typed: str | None = None
        self.asked: list[str] = []
        self.pauses: list[float] = []
        self.calls: list[str] = []
        self.given: dict[str, dict[str, Any]] = {}
        self.cut_at: int | None = None
        self._capsys = capsys
        self._answers: dict[str, Callable[..., Any]] = {}
        self._count = 0
        keep_keys(monkeypatch)
        name_cas(monkeypatch)
        monkeypatch.setattr(boto3.session, "Session", self._watched(boto3.session.Session))

    def _watched(self, real: Any) -> Any:
        def watch(client: Any) -> None:
            self.strict.watch(client)
            client.meta.events.register("before-parameter-build.*.*", self._count_call)
            client.meta.events.register("before-call.*.*", self._before)
            sign_digests(client)

        class Session(real):  # type: ignore[misc]
            def __init__(self, **options: Any) -> None:
                super().__init__(**options, botocore_session=_session())

            def client(self, *words: Any, **options: Any) -> Any:
                client = super().client(*words, **options)
                watch(client)
                return client

        return Session

    def _count_call(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        if len(self.calls) == self.cut_at:
            raise Interrupted
        self.calls.append(model.name)
        self.given[model.name] = params

    def _before(self, model: Any, **_: Any) -> tuple[Any, dict[str, Any]] | None:
        answer = self._answers.get(model.name)
        if answer is None:
            return None
        body = answer()
        status = body.get("ResponseMetadata", {}).get("HTTPStatusCode", 200)
        return type("Response", (), {"status_code": status})(), body

    def deploy(self, status: str = "CREATE_COMPLETE", outputs: dict[str, str] | None = None, **parameters: str) -> None:
        """Have a stack of the default name, with the template's outputs, and more of them."""
        stack = {
            "StackName": "iot-cert",
            "StackId": f"arn:aws:cloudformation:{REGION}:{NUMBER}:stack/iot-cert/1",
            "StackStatus": status,
            "Outputs": [
                {"OutputKey": key, "OutputValue": value} for key, value in {**_OUTPUTS, **(outputs or {})}.items()
            ],
            "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        }
        self.answers("DescribeStacks", {"Stacks": [stack]})

    def answers(self, operation: str, *bodies: dict[str, Any]) -> None:
        """Have AWS answer an operation that moto lacks; the last answer is repeated."""
        waiting = list(bodies)
        self._answers[operation] = lambda: waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def has_answered(self, operation: str, act: Callable[[], dict[str, Any]]) -> None:
        """Have an operation do something, and answer what that returns."""
        self._answers[operation] = act

    def refuses(self, operation: str, code: str, message: str = "", status: int = 403) -> None:
        """Have AWS refuse an operation."""
        body = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
        self.answers(operation, body)

    def runs(self, *words: str) -> tuple[int, str]:
        """Run `iot-cert cloud` with words; return its exit code, and what was printed."""
        self._capsys.readouterr()  # what the account's functions have logged
        arguments = parse(["cloud", *words])
        output = Output(as_json=arguments.json)
        try:
            terminal = OperatorTerminal(
                now=self.now,
                chance=self._chance,
                answer=self._answer,
                pause=self.pauses.append,
                progress=lambda _: None,
            )
            code = int(verbs.run(arguments, output, terminal))
        except AgentError as error:
            code = int(getattr(error, "exit", 1))
            output.error(error, code)
        said = self._capsys.readouterr()
        if arguments.json:
            _hold(arguments.action, said.out)
        return code, said.out + said.err

    def rows(self, *words: str) -> list[dict[str, Any]]:
        """Run it with `--json`; return the objects."""
        _, said = self.runs(*words, "--json")
        return [json.loads(line) for line in said.splitlines()]

    @property
    def _answer(self) -> Callable[[str], str] | None:
        return None if self.typed is None else self._type

    def _type(self, question: str) -> str:
        self.asked.append(question)
        return self.typed or ""

    def _chance(self, length: int) -> bytes:
        self._count += 1
        return self._count.to_bytes(length, "big")
