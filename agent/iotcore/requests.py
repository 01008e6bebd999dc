"""Requests over one session: fleet provisioning, and the question whose answer proves a set.

On top of the SDK's V2 service clients, which subscribe, publish and wait. What comes back is typed here: the SDK
checks that it is JSON and nothing more, so every field may be missing, of another type, or enormous.

The provisioning API has no correlation token ("Device provisioning MQTT API"): the SDK hands a late reply to the next
request of its kind. Hence the rule of `agent.ports.Session`: after an error, a new connection.
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

from awscrt import mqtt5, mqtt_request_response
from awscrt.exceptions import AwsCrtError
from awsiot import V2ServiceException, iotidentity, iotshadow

from agent.core.aws import topics
from agent.core.aws.replies import ASK, CREATE, REGISTER, RETIRE, check_accepted, refusal, text
from agent.core.change import acceptance
from agent.core.failure import failures
from agent.errors import CloudError
from agent.iotcore.client_options import TIMED_OUT, request_failure, request_options
from agent.ports import CreatedCertificate

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Mapping

    from agent.core.failure.failure import Failure


SHADOW = "certificate"

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
            certificate_pem=text(CREATE, "certificate_pem", reply.certificate_pem, acceptance.MAX_CERTIFICATE_PEM),
            certificate_id=text(CREATE, "certificate_id", reply.certificate_id, _MAX_ID),
            token=text(CREATE, "certificate_ownership_token", reply.certificate_ownership_token, acceptance.MAX_TOKEN),
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
        return text(REGISTER, "thing_name", reply.thing_name, acceptance.MAX_THING_NAME)

    def ask(self, thing_name: str) -> None:
        """Ask for the thing's shadow `certificate`; that there is none is an answer too.

        Raises:
            CloudError: It was not authorised or not answered.
        """
        shadow = iotshadow.IotShadowClientV2(self._client, self._options)
        request = iotshadow.GetNamedShadowRequest(thing_name=thing_name, shadow_name=SHADOW)
        self._result(ASK, shadow.get_named_shadow(request))

    def retire(self, thing_name: str, certificate_id: str) -> None:
        """Ask for a certificate to be deactivated.

        Raises:
            CloudError: It was refused or not answered.
        """
        client = mqtt_request_response.Client(self._client, self._options)
        topic = topics.retire(thing_name)
        options = request_options(topic, *topics.answers(topic), {"certificateId": certificate_id})
        try:
            reply = client.make_request(options).result(self._timeout + 5)
        except (AwsCrtError, concurrent.futures.TimeoutError) as error:
            raise CloudError(request_failure(RETIRE, error, lost=self._lost.is_set())) from None
        check_accepted(RETIRE, reply.topic, reply.payload or b"")

    def denied(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Subscribe to each wanted topic and return those that the broker refuses.

        Raises:
            CloudError: There was no answer.
        """
        refused = []
        for topic in wanted:
            packet = mqtt5.SubscribePacket(
                subscriptions=[mqtt5.Subscription(topic_filter=topic, qos=mqtt5.QoS.AT_LEAST_ONCE)]
            )
            try:
                suback = self._client.subscribe(packet).result(self._timeout)
            except (AwsCrtError, concurrent.futures.TimeoutError) as error:
                raise CloudError(request_failure(f"Subscribe to {topic}", error, lost=self._lost.is_set())) from None
            if any(code >= mqtt5.SubackReasonCode.UNSPECIFIED_ERROR for code in suback.reason_codes):
                refused.append(topic)
        return tuple(refused)

    def _result(self, operation: str, future: concurrent.futures.Future[Any]) -> Any:
        try:
            return future.result(self._timeout + 5)
        except V2ServiceException as error:
            failure = self._failed(operation, error)
        except concurrent.futures.TimeoutError as error:
            failure = request_failure(operation, error, lost=False)
        if failure is not None:
            raise CloudError(failure)
        return None

    def _failed(self, operation: str, error: Any) -> Failure | None:
        inner = error.inner_error
        if error.modeled_error is not None:
            return _refused(operation, error.modeled_error)
        if not isinstance(inner, AwsCrtError) or not inner.name:
            return failures.garbled(operation, f"it is not sound JSON ({type(inner).__name__})")
        lost = self._lost.wait(0.0 if inner.name in TIMED_OUT else _SETTLE)
        return request_failure(operation, inner, lost=lost)


def _refused(operation: str, error: Any) -> Failure | None:
    if operation == ASK:
        return refusal(operation, getattr(error, "code", None), "", getattr(error, "message", ""))
    return refusal(operation, error.status_code, error.error_code, error.error_message)
