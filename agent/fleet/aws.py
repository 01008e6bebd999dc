"""The account by boto3, for an operator's verbs, and what its refusals mean to an operator. It decides nothing.

The stack is found by its name in CloudFormation; what it made, by the stack's outputs and parameters.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore import exceptions
from botocore.config import Config

from agent.backend import items
from agent.backend.aws.clients import SERVER_ERROR, THROTTLED, Clients
from agent.backend.aws.registry import AwsRegistry
from agent.backend.aws.store import AwsStore
from agent.backend.errors import BackendError
from agent.backend.names import SHADOW, Metric
from agent.core.frozen import frozen
from agent.fleet.decide.overview import IndexedThing
from agent.fleet.errors import AccountError, DeniedError, NotNowError, NotOfferedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from agent.backend.values import Device
    from agent.errors import AgentError

INDEX = "AWS_Things"
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedException", "UnauthorizedOperation", "NotAuthorized"}
_CREDENTIALS = {
    "AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidSignatureException",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_WRITTEN_MEANWHILE = ("PutItem", "ConditionalCheckFailedException")
_QUOTA = "LimitExceededException"  # a quota of resources, not of requests: asking again changes nothing
_NOT_OFFERED = {"InvalidAction", "NotImplemented", "UnknownOperation", "UnknownOperationException"}
_NOT_IMPLEMENTED = 501
_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z0-9]+)")
_GONE = re.compile(r"does not exist")
_LOOKS_AT_DRIFT, _BETWEEN_LOOKS = 60, 5.0  # seconds; it takes CloudFormation some minutes at most


@frozen
class DeployedStack:
    """The stack, as CloudFormation knows it.

    Attributes:
        name: Its name.
        status: Its status, such as CREATE_COMPLETE.
        arn: Its ARN, which names partition, region and account.
        outputs: What it made, by the names of the template's outputs.
        parameters: What it was deployed with.
    """

    name: str
    status: str
    arn: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]

    @property
    def lifetime(self) -> timedelta:
        """How long what the stack's signer signs is to live; a stack of before it has no such parameter."""
        return timedelta(hours=int(self.parameters.get("LifetimeHours") or 24))

    @property
    def gateway_policies(self) -> tuple[str, str]:
        """The policies that the stack has for a gateway, by name: of its sessions, and of its rotations."""
        return self.outputs["SessionPolicy"], self.outputs["RotationPolicy"]

    @property
    def claim_policy(self) -> str:
        """The policy that the stack has for a claim certificate, by name."""
        return self.outputs["ClaimPolicy"]

    @property
    def rule(self) -> str:
        """The rule that hears retirements, by name; a rule's name has no hyphen."""
        return self.named("retire").replace("-", "_")

    def named(self, name: str) -> str:
        """Return the name in the account of a function or an alarm of the stack, such as ``hook``."""
        return f"{self.outputs['Prefix']}-{name}"

    def iot_arn(self, kind: str, name: str = "") -> str:
        """Return the ARN of something in AWS IoT Core, such as ``thing`` or ``cert``."""
        _, partition, _, region, account, _ = self.arn.split(":", 5)
        return f"arn:{partition}:iot:{region}:{account}:{kind}/{name}"


class Fleet:
    """One stack, and what it works on.

    Attributes:
        stack: The stack.
        registry: AWS IoT Core's registry, as the functions see it.
        store: The stack's tables.
        iot: A client of AWS IoT Core's control plane, for what one verb alone reads.
    """

    def __init__(self, stack: DeployedStack, session: Any) -> None:
        """Open the clients of a session."""
        # An operator's verb may wait: it slows down when it is throttled, and the fleet's own calls go first.
        config = Config(connect_timeout=5, read_timeout=30, retries={"mode": "adaptive", "total_max_attempts": 8})
        self.stack = stack
        self._session, self._config = session, config
        self.iot = session.client("iot", config=config)
        self._data, self._tables = session.client("iot-data", config=config), session.client("dynamodb", config=config)
        self._logs = session.client("logs", config=config)
        self._formation = session.client("cloudformation", config=config)
        clients = Clients(iot=self.iot, data=self._data, tables=self._tables)
        self.registry = AwsRegistry(clients, stack.iot_arn("cert"))
        self.store = AwsStore(clients, stack.outputs["DevicesTable"], stack.outputs["CertificatesTable"])

    def client(self, service: str) -> Any:
        """Return a client of a service that one verb alone needs."""
        return self._session.client(service, config=self._config)

    def devices(self) -> Iterator[Device]:
        """Yield each serial number's row (Scan), in no order."""
        pages = self._tables.get_paginator("scan").paginate(TableName=self.stack.outputs["DevicesTable"])
        for page in pages:
            yield from (items.device_of(item) for item in page["Items"] if "#" not in item["serial"]["S"])

    def refused_again(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """Yield what was told of enrolments that were refused although the token was right (FilterLogEvents)."""
        functions = ["hook", *(["vend"] if "VendingUrl" in self.stack.outputs else [])]
        pages = (
            page
            for function in functions
            for page in self._logs.get_paginator("filter_log_events").paginate(
                logGroupName=f"/aws/lambda/{self.stack.named(function)}",
                filterPattern=f"{{ $.{Metric.RE_ENROLMENTS_REFUSED} > 0 }}",
                startTime=int(since.timestamp() * 1000),
            )
        )
        for page in pages:
            yield from ({**json.loads(event["message"]), "at": event["timestamp"]} for event in page["events"])

    def drifted(self, pause: Callable[[float], None]) -> list[Mapping[str, Any]]:
        """Have CloudFormation compare the stack's resources with its template, and return those that differ.

        Args:
            pause: Waits for some seconds.

        Raises:
            NotNowError: It does not come to an end (DetectStackDrift, DescribeStackDriftDetectionStatus).
        """
        made = self._formation.detect_stack_drift(StackName=self.stack.arn)["StackDriftDetectionId"]
        for _ in range(_LOOKS_AT_DRIFT):
            told = self._formation.describe_stack_drift_detection_status(StackDriftDetectionId=made)
            if told["DetectionStatus"] != "DETECTION_IN_PROGRESS":
                break
            pause(_BETWEEN_LOOKS)
        if told["DetectionStatus"] == "DETECTION_IN_PROGRESS":
            raise NotNowError("CloudFormation has not come to the end of looking.", hint=_AGAIN)
        pages = _pages(
            self._formation.describe_stack_resource_drifts,
            "NextToken",
            StackName=self.stack.arn,
            StackResourceDriftStatusFilters=["MODIFIED", "DELETED", "UNKNOWN"],
        )
        return [item for page in pages for item in page["StackResourceDrifts"]]

    def count(self, query: str) -> int:
        """Return how many things a query of fleet indexing finds (GetStatistics)."""
        found = self.iot.get_statistics(indexName=INDEX, queryString=query)
        return int(found["statistics"]["count"])

    def search(self, query: str) -> Iterator[IndexedThing]:
        """Yield the things that a query of fleet indexing finds (SearchIndex)."""
        for page in _pages(self.iot.search_index, "nextToken", indexName=INDEX, queryString=query, maxResults=500):
            for thing in page.get("things", ()):
                attributes = thing.get("attributes") or {}
                yield IndexedThing(name=thing["thingName"], attributes=attributes, shadow=thing.get("shadow"))

    def attachments(self, certificate_id: str) -> dict[str, str]:
        """Return the things that a certificate is attached to, and how (ListPrincipalThingsV2)."""
        pages = self.iot.get_paginator("list_principal_things_v2").paginate(principal=self._arn(certificate_id))
        found = [item for page in pages for item in page["principalThingObjects"]]
        return {item["thingName"]: item.get("thingPrincipalType", "NON_EXCLUSIVE_THING") for item in found}

    def detach_policy(self, policy: str, certificate_id: str) -> None:
        """Take a policy off a certificate, on which it need not be (DetachPolicy)."""
        with suppress(self.iot.exceptions.ResourceNotFoundException):
            self.iot.detach_policy(policyName=policy, target=self._arn(certificate_id))

    def _arn(self, certificate_id: str) -> str:
        return self.stack.iot_arn("cert", certificate_id)

    def indexing(self) -> Mapping[str, Any]:
        """Return how things and groups are indexed (GetIndexingConfiguration)."""
        found: Mapping[str, Any] = self.iot.get_indexing_configuration()
        return found

    def index_things(self, configuration: Mapping[str, Any]) -> None:
        """Set how things are indexed, and change nothing else (UpdateIndexingConfiguration)."""
        self.iot.update_indexing_configuration(thingIndexingConfiguration=configuration)

    def endpoint(self) -> str:
        """Return the account's address for data (DescribeEndpoint)."""
        return str(self.iot.describe_endpoint(endpointType="iot:Data-ATS")["endpointAddress"])

    def targets(self, policy: str) -> list[str]:
        """Return the ARNs of what a policy is attached to: certificates and thing groups (ListTargetsForPolicy)."""
        pages = self.iot.get_paginator("list_targets_for_policy").paginate(policyName=policy)
        return [target for page in pages for target in page["targets"]]

    def make_claim(self) -> tuple[str, tuple[str, str]]:
        """Make a certificate (CreateKeysAndCertificate); return its id, and itself and its key as PEM."""
        made = self.iot.create_keys_and_certificate(setAsActive=True)
        return made["certificateId"], (made["certificatePem"], made["keyPair"]["PrivateKey"])

    def is_group(self, group: str) -> bool:
        """Return whether there is a thing group (DescribeThingGroup)."""
        try:
            self.iot.describe_thing_group(thingGroupName=group)
        except self.iot.exceptions.ResourceNotFoundException:
            return False
        return True

    def order(self, request: Mapping[str, Any]) -> bool:
        """Make a job (CreateJob); return whether it is new."""
        try:
            self.iot.create_job(**request)
        except self.iot.exceptions.ResourceAlreadyExistsException:
            return False
        return True

    def wish(self, thing: str, desired: Mapping[str, Any]) -> None:
        """Have a thing's shadow wish for something (UpdateThingShadow)."""
        payload = json.dumps({"state": {"desired": desired}}).encode()
        self._data.update_thing_shadow(thingName=thing, shadowName=SHADOW, payload=payload)


def _pages(ask: Callable[..., Mapping[str, Any]], token: str, **request: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the pages of what boto3 has no paginator for."""
    more: dict[str, Any] = {}
    while True:
        page = ask(**request, **more)
        yield page
        if not page.get(token):
            return
        more = {token: page[token]}


def connect(stack: str, region: str | None, profile: str | None) -> Fleet:
    """Return a stack, with the operator's own credentials as the AWS CLI would take them.

    Raises:
        AccountError: There is no such stack, or AWS cannot be asked.
    """
    with telling():
        region = region or os.environ.get("AWS_REGION")  # which the AWS CLI takes, and boto3 does not look for
        session = boto3.session.Session(region_name=region, profile_name=profile)
        return Fleet(_stack(session.client("cloudformation"), stack, session.region_name or ""), session)


def _stack(client: Any, name: str, region: str) -> DeployedStack:
    try:
        found = client.describe_stacks(StackName=name)["Stacks"][0]
    except exceptions.ClientError as error:
        if not _GONE.search(str(error)):
            raise
        raise UsageError(
            f"There is no stack {name} in {region}, for these credentials.",
            hint="--stack names it, --region where it is. docs/fleet-operator.md says how it is deployed.",
        ) from None
    outputs = {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", ())}
    lacking = {"Prefix", "DevicesTable", "CertificatesTable", "EnrolmentTemplate", "RotationTemplate"} - set(outputs)
    if lacking:
        raise UsageError(
            f"The stack {name} is {found['StackStatus']} and tells nothing of {', '.join(sorted(lacking))}.",
            hint="It is another stack, or was not deployed to its end: aws cloudformation describe-stack-events",
        )
    parameters = {item["ParameterKey"]: item.get("ParameterValue", "") for item in found.get("Parameters", ())}
    return DeployedStack(
        name=name, status=found["StackStatus"], arn=found["StackId"], outputs=outputs, parameters=parameters
    )


@contextmanager
def telling() -> Iterator[None]:
    """Turn what boto3 and the ports raise into sentences for the operator.

    Raises:
        AccountError: In place of any of these.
    """
    try:
        yield
    except BackendError as error:
        raise _meaning(error.__cause__ or error) from error
    except exceptions.ParamValidationError:
        raise  # a defect of ours
    except (exceptions.ClientError, exceptions.BotoCoreError) as error:
        raise _meaning(error) from error


def _meaning(error: BaseException) -> AgentError:
    match error:
        case exceptions.ClientError():
            return _refusal(error)
        case exceptions.NoRegionError():
            return UsageError("No region is named.", hint="Give --region, or set AWS_REGION or the profile's region.")
        case exceptions.ProfileNotFound():
            return UsageError(f"{error}.", hint="`aws configure list-profiles` lists those that there are.")
        case (
            exceptions.NoCredentialsError()
            | exceptions.PartialCredentialsError()
            | exceptions.CredentialRetrievalError()
            | exceptions.TokenRetrievalError()
            | exceptions.UnauthorizedSSOTokenError()
            | exceptions.SSOError()
        ):
            return UsageError("There are no AWS credentials that can be used.", hint=_SIGN_IN)
        case _:
            return NotNowError(f"AWS does not answer: {error}", hint=_AGAIN)


def _refusal(error: exceptions.ClientError) -> AgentError:
    told = error.response.get("Error", {})
    code, text = told.get("Code", ""), told.get("Message", "")
    if code in _DENIED:
        named = _ACTION.search(text)
        action = named[1] if named else error.operation_name
        return DeniedError(
            f"AWS does not allow these credentials {action}.", hint="Have it allowed. Then run it again."
        )
    if (error.operation_name, code) == _WRITTEN_MEANWHILE:
        return NotNowError("A row was written meanwhile, by a function or another operator.", hint=_AGAIN)
    if code == _QUOTA:
        return AccountError(
            f"AWS refuses {error.operation_name}, since a quota of the account is used up: {text} ({code})",
            hint="Remove what is not needed any more, or have AWS raise the quota (Service Quotas). Then run it again.",
        )
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _NOT_OFFERED or code.isdigit() or status == _NOT_IMPLEMENTED:  # AWS names each refusal of its own
        return NotOfferedError(f"{error.operation_name} is not offered here ({code}).")
    if code in _CREDENTIALS:
        return UsageError(f"AWS does not take these credentials ({code}).", hint=_SIGN_IN)
    if code in THROTTLED:
        return NotNowError(f"AWS throttles {error.operation_name} ({code}), after several attempts.", hint=_AGAIN)
    if error.operation_name in _INDEXED and code in {"IndexNotReadyException", "ResourceNotFoundException"}:
        hint = "Turn it on with `iot-cert cloud setup`; a new index of a large fleet takes hours."
        return UsageError("Fleet indexing is off, or its index is not built yet.", hint=hint)
    if status >= SERVER_ERROR:
        return NotNowError(f"AWS failed to answer {error.operation_name} ({code}).", hint=_AGAIN)
    return AccountError(f"AWS refuses {error.operation_name}: {text} ({code})")


_INDEXED = {"SearchIndex", "GetStatistics"}
_SIGN_IN = "Sign in (`aws sso login`, `aws configure`), or name another --profile."
_AGAIN = "What was done is done. Run the same command again: it does what is left."
