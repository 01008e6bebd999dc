from __future__ import annotations

import pytest

from agent.core.aws.replies import CREATE, REGISTER, refusal
from agent.core.failure import failures, registration_failures
from agent.core.failure.codes import traits
from agent.core.failure.failure import Failure, FailureClass
from agent.core.values import Kind

F = FailureClass


def refused(operation: str, status: int, code: str) -> Failure:
    """Return what a refusal of provisioning means, as it comes over the wire and in the simulator."""
    found = refusal(operation, status, code, "Because.")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("status", "code", "names"),
    [
        (400, "InvocationError", "hook crashed, was throttled or took too long"),
        (400, "InvalidResult", "hook answers what AWS IoT cannot use"),
        (400, "InvalidTemplate", "no such template, or it is disabled"),
        (404, "ResourceNotFound", "no such template, or it is disabled"),
        (404, "ResourceNotFoundException", "no such template, or it is disabled"),
        (400, "ProvisioningFailed", "policy, group or type that the template names"),
    ],
)
def test_what_the_account_can_mend_is_asked_again(status: int, code: str, names: str) -> None:
    """It is no bad request: the same certificate is registered as soon as the account is as it should be."""
    failure = refused(REGISTER, status, code)

    assert (failure.kind, failure.code, failure.decisive) == (F.POLICY, "account-not-ready", False)
    assert failure.message == f"RegisterThing cannot be carried out by the account now ({status} {code}): Because."
    assert names in failure.remedy
    assert failure.promise == "The agent asks again."


@pytest.mark.parametrize(
    ("operation", "status", "code", "kind"),
    [
        (REGISTER, 400, "InvalidParameters", F.PROTOCOL),
        (REGISTER, 400, "InvalidPayload", F.PROTOCOL),
        (REGISTER, 400, "InvalidCertificateOwnershipToken", F.PROTOCOL),
        (REGISTER, 400, "", F.PROTOCOL),
        (REGISTER, 429, "InvocationError", F.THROTTLED),
        (REGISTER, 500, "InvocationError", F.NETWORK),
        (CREATE, 400, "InvocationError", F.PROTOCOL),
        (CREATE, 404, "ResourceNotFound", F.PROTOCOL),
    ],
)
def test_any_other_refusal_means_what_it_means_of_any_request(
    operation: str, status: int, code: str, kind: FailureClass
) -> None:
    """A bad request stays bad, a busy cloud is waited for, and no template has a say in making a certificate."""
    failure = refused(operation, status, code)

    assert failure == failures.refused(operation, status, code, "Because.")
    assert failure.kind is kind


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_the_hook_is_told_as_its_word(status: int) -> None:
    """No policy is blamed: the hook was only asked because the policies allowed that."""
    failure = refused(REGISTER, status, "AccessDenied")

    assert (failure.kind, failure.code) == (F.POLICY, "denied")
    said = f"RegisterThing was denied by the account's provisioning hook ({status} AccessDenied): Because."
    assert failure.message == said
    assert "no policy is to blame" in failure.remedy
    assert "readmit" not in failure.remedy


def test_a_refused_enrolment_says_who_opens_another() -> None:
    """It may be spent; the gateway cannot tell, and only a person with access to the account can open one more."""
    failure = refused(REGISTER, 403, "AccessDenied")
    told = registration_failures.told(
        failure, Kind.ENROLL, "a", {"SerialNumber": "0042", "RegistrationToken": "secret"}
    )

    opens = "a person with access to the account opens one more with `iot-cert cloud readmit 0042 --for 24h`"
    assert f"{opens}, which prints a new token for `enrollment.parameters.RegistrationToken`." in told.remedy
    assert "secret" not in told.remedy
    assert registration_failures.told(failure, Kind.ENROLL, "a", {}).remedy.endswith(
        "`iot-cert cloud readmit SERIAL --for 24h`."
    )
    assert told.message == failure.message
    assert registration_failures.told(failure, Kind.ROTATE, "a", {}) == failure
    other = failures.hung_up()
    assert registration_failures.told(other, Kind.ENROLL, "a", {}) == other


@pytest.mark.parametrize("kind", [Kind.ENROLL, Kind.ROTATE])
def test_a_policy_that_may_name_another_template_is_told_with_the_one_that_was_asked_for(kind: Kind) -> None:
    """A misspelt name in the configuration looks like a policy that lacks a right."""
    told = registration_failures.told(failures.not_authorised("ask for RegisterThing"), kind, "gateway-2", {})
    assert "allow the template `gateway-2`" in told.remedy


def test_what_the_account_says_needs_no_time_to_spread() -> None:
    """The broker's own refusals do; a person at the console is told of the account's sooner."""
    assert traits(refused(REGISTER, 403, "AccessDenied").code).of_the_account
    assert traits(refused(REGISTER, 400, "InvocationError").code).of_the_account
    assert not traits(failures.not_authorised("connect").code).of_the_account
