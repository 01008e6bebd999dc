"""Requests over one session: fleet provisioning, and the question whose answer proves a set.

On top of the SDK's V2 service clients, which subscribe, publish and wait. What comes back is typed here: the SDK
checks that it is JSON and nothing more, so every field may be missing, of another type, or enormous.

The provisioning API has no correlation token ("Device provisioning MQTT API"): the SDK hands a late reply to the next
request of its kind. Hence the rule of `agent.ports.Session`: after an error, a new connection.
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

from awscrt import mqtt_request_response
from awscrt.exceptions import AwsCrtError
from awsiot import V2ServiceException, iotidentity, iotshadow

from agent.core import acceptance, troubles
from agent.errors import CloudError
from agent.ports import CreatedCertificate

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from awscrt import mqtt5

SHADOW = "certificate"

CREATE = "CreateCertificateFromCsr"
REGISTER = "RegisterThing"
ASK = "GetNamedShadow"

_SETTLE = 0.5  # seconds in which a lost connection makes itself known after a request failed
_MAX_ID = 64


class Requests:
    """What can be asked over one session."""

    def __init__(self, client: mqtt5.Client, timeout: float, lost: threading.Event) -> None:
        """Prepare to ask over a connected client.

        Args:
            client: The client.
            timeout: Seconds for the answer to one request.
            lost: Set by the session when its connection is gone.
        """
        self._client = client
        self._timeout = timeout
        self._lost = lost
        self._options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=4,
            max_streaming_subscriptions=1,
            operation_timeout_in_seconds=max(1, int(timeout)),
        )
        self._identity: Any = None

    def _identity_client(self) -> Any:
        if self._identity is None:
            self._identity = iotidentity.IotIdentityClientV2(self._client, self._options)
        return self._identity

    def create_certificate(self, request_pem: bytes) -> CreatedCertificate:
        """Ask for a certificate.

        Raises:
            CloudError: It was refused, not answered, or answered with something unreadable.
        """
        request = iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=request_pem.decode())
        reply = self._result(CREATE, self._identity_client().create_certificate_from_csr(request))
        return CreatedCertificate(
            certificate_pem=_text(CREATE, reply, "certificate_pem", acceptance.MAX_CERTIFICATE_PEM),
            certificate_id=_text(CREATE, reply, "certificate_id", _MAX_ID),
            token=_text(CREATE, reply, "certificate_ownership_token", acceptance.MAX_TOKEN),
        )

    def register_thing(self, template: str, token: str, parameters: Mapping[str, str]) -> str:
        """Register the certificate that belongs to `token` and return the thing's name.

        Raises:
            CloudError: It was refused, not answered, or answered with something unreadable.
        """
        request = iotidentity.RegisterThingRequest(
            template_name=template, certificate_ownership_token=token, parameters=dict(parameters)
        )
        reply = self._result(REGISTER, self._identity_client().register_thing(request))
        return _text(REGISTER, reply, "thing_name", acceptance.MAX_THING_NAME)

    def ask(self, thing_name: str) -> None:
        """Ask for the thing's shadow `certificate`; that there is none is an answer too.

        Raises:
            CloudError: It was not authorised or not answered.
        """
        shadow = iotshadow.IotShadowClientV2(self._client, self._options)
        request = iotshadow.GetNamedShadowRequest(thing_name=thing_name, shadow_name=SHADOW)
        self._result(ASK, shadow.get_named_shadow(request))

    def _result(self, operation: str, future: concurrent.futures.Future[Any]) -> Any:
        try:
            return future.result(self._timeout + 5)
        except V2ServiceException as error:
            return self._failed(operation, error)
        except concurrent.futures.TimeoutError:
            raise CloudError(troubles.no_reply(operation)) from None

    def _failed(self, operation: str, error: Any) -> None:
        if error.modeled_error is not None:
            _refused(operation, error.modeled_error)
            return
        inner = error.inner_error
        name = inner.name if isinstance(inner, AwsCrtError) else ""
        if name == "AWS_ERROR_MQTT_REQUEST_RESPONSE_TIMEOUT":
            if self._lost.is_set():
                raise CloudError(troubles.session_lost("the broker hung up")) from None
            raise CloudError(troubles.no_reply(operation)) from None
        if not name:
            raise CloudError(troubles.garbled(operation, _why(inner))) from None
        if self._lost.wait(_SETTLE):
            unsent = "SUBSCRIBE_FAILURE" in name  # the request is published only once the answer can be heard
            raise CloudError(troubles.not_sent(name) if unsent else troubles.session_lost(name)) from None
        if "SUBSCRIBE_FAILURE" in name or "PUBLISH_FAILURE" in name:
            raise CloudError(troubles.not_authorised(f"ask for {operation}")) from None
        raise CloudError(troubles.session_lost(name)) from None


def _refused(operation: str, error: Any) -> None:
    """Raise what a modelled error means; only the shadow's "there is none" is an answer like any other."""
    if operation == ASK:
        status, code, text = getattr(error, "code", None), "", getattr(error, "message", "")
        if status not in troubles.UNAUTHORISED and status != troubles.TOO_MANY_REQUESTS:
            return
    else:
        status, code, text = error.status_code, error.error_code, error.error_message
    if not isinstance(status, int) or isinstance(status, bool):
        raise CloudError(troubles.garbled(operation, "its status is no number")) from None
    raise CloudError(troubles.refused(operation, status, _string(code), _string(text))) from None


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _why(error: BaseException | None) -> str:
    return f"it is not sound JSON ({type(error).__name__})"


def _text(operation: str, reply: Any, name: str, limit: int) -> str:
    value = getattr(reply, name, None)
    if not isinstance(value, str) or not value:
        raise CloudError(troubles.garbled(operation, f"{name} is missing or no text"))
    if len(value) > limit:
        raise CloudError(troubles.garbled(operation, f"{name} has {len(value)} characters and {limit} are allowed"))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CloudError(troubles.garbled(operation, f"{name} is no Unicode text")) from None
    return value
