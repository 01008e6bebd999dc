from __future__ import annotations

from datetime import timedelta

import pytest

from agent.backend.errors import MisconfiguredError
from agent.backend.names import Variable
from agent.backend.settings import StackSettings, read

ENVIRONMENT: dict[str, str] = {
    Variable.ENROLMENT_TEMPLATE: "e",
    Variable.ROTATION_TEMPLATE: "r",
    Variable.OWN_POLICIES: "a,b,",
    Variable.KEEP_DAYS: "7",
    Variable.DAILY_LIMIT: "3",
    Variable.SIGNER: "ca" * 32,
    Variable.LIFETIME: "48",
    Variable.SIGNER_FUNCTION: "p-sign",
    Variable.RE_ENROL: "never",
}


def test_the_environment_is_read() -> None:
    """As the template writes it."""
    assert read(ENVIRONMENT) == StackSettings(
        enrolment_template="e",
        rotation_template="r",
        own_policies=frozenset({"a", "b"}),
        keep=timedelta(days=7),
        daily_limit=3,
        provider_ca="ca" * 32,
        lifetime=timedelta(hours=48),
        signer_function="p-sign",
        re_enrols=False,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, None) for name in ENVIRONMENT]
    + [(Variable.KEEP_DAYS, "0"), (Variable.DAILY_LIMIT, "-1"), (Variable.KEEP_DAYS, "x"), (Variable.RE_ENROL, "yes")]
    + [(Variable.LIFETIME, "23"), (Variable.LIFETIME, "a day")],
)
def test_what_cannot_be_read_is_the_stacks_fault(name: Variable, value: str | None) -> None:
    """A function that guesses would let in what the operator did not want."""
    environment = {key: text for key, text in (ENVIRONMENT | {name: value}).items() if text is not None}
    with pytest.raises(MisconfiguredError, match="environment"):
        read(environment)
