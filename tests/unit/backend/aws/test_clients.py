from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError, ReadTimeoutError

from agent.backend.aws.clients import MISSING, OF_THE_HOOK, GoneError, asking
from agent.backend.errors import BackendError, ChangedError, MisconfiguredError, UnavailableError


def refusal(code: str, status: int = 400) -> ClientError:
    """What boto3 raises for an answer that is an error."""
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Operation")


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (refusal("ThrottlingException"), UnavailableError),
        (refusal("TooManyRequestsException", 429), UnavailableError),
        (refusal("ProvisionedThroughputExceededException"), UnavailableError),
        (refusal("InternalFailureException", 500), UnavailableError),
        (refusal("ServiceUnavailableException", 503), UnavailableError),
        (refusal("", 502), UnavailableError),
        (EndpointConnectionError(endpoint_url="https://iot"), UnavailableError),
        (ReadTimeoutError(endpoint_url="https://iot"), UnavailableError),
        (refusal("AccessDeniedException", 403), MisconfiguredError),
        (refusal("UnauthorizedException", 401), MisconfiguredError),
        (refusal("ValidationException"), MisconfiguredError),
        (refusal("ResourceNotFoundException", 404), GoneError),
        (refusal("CertificateStateException", 406), ChangedError),
    ],
)
def test_what_an_error_means(error: Exception, meaning: type[BackendError]) -> None:
    """By its code, or by its status where that says more; what AWS said stands in it."""
    with pytest.raises(meaning) as caught, asking(MISSING | {"CertificateStateException"}):
        raise error
    assert type(caught.value) is meaning
    assert str(error) in str(caught.value)


def test_what_is_missing_where_nothing_should_be() -> None:
    """A table, say: the stack is not right."""
    with pytest.raises(MisconfiguredError), asking():
        raise refusal("ResourceNotFoundException", 404)


def test_a_request_that_cannot_be_is_a_defect() -> None:
    """Repeating its event would not help."""
    with pytest.raises(ParamValidationError), asking():
        raise ParamValidationError(report="Missing required parameter")


def test_the_hook_has_an_answer_before_aws_has_lost_its_patience() -> None:
    """One call that is tried in vain, within the five seconds that AWS gives the hook; two would be too many anyway."""
    assert (OF_THE_HOOK.connect + OF_THE_HOOK.read) * OF_THE_HOOK.attempts <= 3.5
