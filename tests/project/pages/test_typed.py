"""Every line of shell on a page is typed by a test, which takes it from there; here is which one."""

from __future__ import annotations

import re

import pytest

from support.documents.pages import PAGES, ROOT, blocks

# By page and heading: the test that types the block, or why it needs none. Pages of the account's side have their own.
GATEWAY, LOOPBACK = "tests/system/test_pages.py", "tests/integration/pages/test_pages.py"
FIRST_DAY = "tests/system/test_first_day.py"
TYPED = {
    ("README.md", "Two commands"): "is what docs/start.md has typed, and what continuous integration runs",
    ("README.md", "Install"): "is a part of what docs/start.md has, as tests/project/pages/test_pages.py sees to",
    ("SECURITY.md", "When a gateway's key is compromised"): f"{GATEWAY}::test_what_to_do_about_a_compromise",
    ("SECURITY.md", "When the claim certificate is compromised"): f"{GATEWAY}::test_what_to_do_about_a_compromise",
    ("SECURITY.md", "When a signer of trust bundles is compromised"): f"{LOOPBACK}::test_what_to_do_about_signers",
    ("docs/integrator.md", "For integrators"): "is three lines that docs/start.md and docs/technician.md have typed",
    ("docs/integrator.md", "A gateway that has a certificate already"): (
        f"{GATEWAY}::test_a_gateway_that_has_a_certificate_already"
    ),
    ("docs/integrator.md", "Factory reset"): f"{GATEWAY}::test_a_factory_reset",
    ("docs/ota-pipeline.md", "Once: keys and the first bundle"): f"{GATEWAY}::test_the_pipelines_page",
    ("docs/ota-pipeline.md", "Each time"): f"{GATEWAY}::test_the_pipelines_page",
    ("docs/technician.md", "Without a network"): f"{GATEWAY}::test_a_technician_with_a_stick_and_no_network",
    ("docs/start.md", "Watch it"): f"{LOOPBACK}::test_the_demonstration",
    ("docs/start.md", "A first gateway, rehearsed"): (
        "tests/system/test_rehearsal.py::test_the_rehearsal_of_a_stranger"
    ),
    ("docs/start.md", "A first gateway in ten minutes"): f"{FIRST_DAY}::test_a_first_day",
    ("docs/start.md", "The first day"): f"{FIRST_DAY}::test_a_first_day",
}
ELSEWHERE = (
    "docs/audits.md",
    "docs/fleet-operator.md",
    "docs/short-lives.md",
    "docs/vending-machine.md",
    "docs/reference/",
)


def headings(page: str) -> set[str]:
    """Return the headings of a page under which there is shell to be typed."""
    parts = re.split(r"^##? (.+)$", (ROOT / page).read_text(), flags=re.MULTILINE)
    return {heading for heading, text in zip(parts[1::2], parts[2::2], strict=True) if blocks(text)}


def test_every_block_of_shell_is_typed_by_a_test() -> None:
    """No page has one that is not in the table, and the table has none that is gone."""
    pages = ["README.md", "SECURITY.md", *(path.relative_to(ROOT).as_posix() for path in PAGES)]
    found = {(page, heading) for page in pages if not page.startswith(ELSEWHERE) for heading in headings(page)}
    assert found == set(TYPED)


@pytest.mark.parametrize(("page", "heading"), [key for key, test in TYPED.items() if "::" in test])
def test_the_test_takes_the_lines_from_the_page(page: str, heading: str) -> None:
    """By the page's name and the heading, so that it types what stands there today."""
    name, _, test = TYPED[page, heading].partition("::")
    text = (ROOT / name).read_text()
    assert f"def {test}(" in text
    assert f'"{page}"' in text
    assert f'"{heading}"' in text
