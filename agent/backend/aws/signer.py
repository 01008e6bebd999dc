"""The account's own signer, as the vending machine asks it: by calling its function (Invoke)."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agent.backend.aws.clients import asking
from agent.backend.errors import NotSignedError, UnavailableError
from agent.backend.names import signer_event

if TYPE_CHECKING:
    from collections.abc import Callable


class AwsSigner:
    """As `agent.backend.ports.CertificateSigner` has it."""

    def __init__(self, connect: Callable[[], Any], name: str) -> None:
        """Use a client of AWS Lambda, which is made when it is needed first, and the function of this name."""
        self._connect, self._name = connect, name

    @cached_property
    def _functions(self) -> Any:
        return self._connect()

    def sign(self, csr: str, caller: str) -> str | None:
        """Ask as AWS IoT Core does. The type of the function's error says that the request is refused."""
        with asking():
            answer = self._functions.invoke(
                FunctionName=self._name, Payload=json.dumps(signer_event(csr, caller)).encode()
            )
        told = json.loads(answer["Payload"].read())
        if "FunctionError" not in answer:
            return str(told["certificatePem"])
        if told.get("errorType") == NotSignedError.__name__:
            return None
        raise UnavailableError(f"The signer {self._name} has failed: {told.get('errorMessage', '')}")
