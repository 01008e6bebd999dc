from __future__ import annotations

from itertools import product

import pytest

from agent.sandbox.process.orders import HELP, OrderError, parse
from agent.sandbox.replies.faults import EFFECTS, Effect, Operation

ID = "c38402bf0cef"


@pytest.mark.parametrize(
    ("text", "order", "arguments"),
    [
        ("", "help", {}),
        ("help", "help", {}),
        ("  clear  ", "clear", {}),
        ("fault create lose", "fault", {"operation": "create", "effect": "lose", "times": 1}),
        ("fault register never-active 3", "fault", {"operation": "register", "effect": "never-active", "times": 3}),
        ("fault connect hang-up always", "fault", {"operation": "connect", "effect": "hang-up", "times": None}),
        (f"revoke {ID}", "revoke", {"certificate": ID}),
        ("deactivate current", "deactivate", {"certificate": "current"}),
        ("activate current", "activate", {"certificate": "current"}),
        ("arm 0042", "arm", {"serial": "0042", "token": ""}),
        ("arm 0042 t0ken", "arm", {"serial": "0042", "token": "t0ken"}),
        ("readmit 0042", "readmit", {"serial": "0042"}),
        ("grant greengrass", "grant", {"name": "greengrass", "certificate": "current"}),
        (f"grant greengrass {ID}", "grant", {"name": "greengrass", "certificate": ID}),
        ("audit age", "audit", {"check": "age", "certificate": "current"}),
        (f"audit expiry {ID}", "audit", {"check": "expiry", "certificate": ID}),
        ("sweep", "sweep", {"days": 0}),
        ("sweep 31", "sweep", {"days": 31}),
        ("server wrong-host", "server", {"certificate": "wrong-host"}),
        ("root new b", "root new", {"name": "b", "text": ""}),
        ("root new b organisation Of  two", "root new", {"name": "b", "text": "organisation Of  two"}),
        ("root use b", "root use", {"name": "b", "intermediate": None}),
        ("root use b intermediate", "root use", {"name": "b", "intermediate": "intermediate"}),
        ("tls 1.2", "tls", {"version": "1.2"}),
        ("lifetime 60", "lifetime", {"seconds": 60}),
        ("policy-delay 4", "policy-delay", {"seconds": 4}),
        ("job rotate", "job", {"kind": "rotate", "text": ""}),
        ('job report {"a":  -1 }', "job", {"kind": "report", "text": '{"a":  -1 }'}),
        ("job raw -1  --x", "job raw", {"text": "-1  --x"}),
        ("cancel job-2", "cancel", {"job": "job-2"}),
        ('desire {"renew": null}', "desire", {"text": '{"renew": null}'}),
        ("desire -7", "desire", {"text": "-7"}),
    ],
)
def test_an_order_is_read(text: str, order: str, arguments: dict[str, object]) -> None:
    """A text that ends it is as it was written, whatever it begins with."""
    found = vars(parse(text))
    assert found.pop("order") == order
    assert found == arguments


@pytest.mark.parametrize(
    "text",
    [
        "clear all",
        "fault",
        "fault create",
        "fault make lose",
        "fault create dance",
        "fault create lose often",
        "fault create lose 1 2",
        "revoke",
        "revoke a b",
        "server",
        "server bad",
        "root",
        "root drop b",
        "root use b sideways",
        "tls 1.1",
        "policy-delay",
        "policy-delay soon",
        "policy-delay -3",
        "lifetime -1",
        "lifetime 999999999999",
        "lifetime ٣",
        "sweep 9999999999",
        "arm",
        "readmit",
        "grant",
        "sweep up",
        "job",
        "job dance",
        "cancel",
        "jobs --all",
    ],
)
def test_an_order_with_wrong_arguments_is_refused(text: str) -> None:
    """The message has the order and what is wrong with it."""
    with pytest.raises(OrderError, match="cannot be carried out") as caught:
        parse(text)
    assert repr(text) in str(caught.value)
    assert caught.value.hint == "`help` lists them."


def test_there_are_no_other_orders() -> None:
    """Nor beginnings of them."""
    for text in ("dance", "cle", "roots", "--help", "-h"):
        with pytest.raises(OrderError, match=f"There is no order {text!r}"):
            parse(text)


VERBS = (
    *("fault", "clear", "down", "up", "revoke", "deactivate", "activate", "server", "root", "tls", "policy-delay"),
    *("arm", "readmit", "grant", "sweep"),
    *("job", "jobs", "cancel", "desire", "shadow", "certificates", "requests", "live", "sessions"),
)


@pytest.mark.parametrize("word", VERBS)
def test_the_help_tells_each_order(word: str) -> None:
    """With the words that come after it; an order that it tells and that is not known would be refused otherwise."""
    assert word in HELP.replace("`", " ").split()
    said = ""
    try:
        parse(word)
    except OrderError as error:
        said = str(error)
    assert "There is no order" not in said


def test_the_help_tells_what_may_go_wrong() -> None:
    """Each operation with what can happen to it is an order; what would change nothing is none."""
    assert {*Operation, *Effect} <= {*HELP.split()}
    for operation, effect in product(Operation, Effect):
        if effect in EFFECTS[operation]:
            assert (parse(f"fault {operation} {effect}").operation, effect) == (operation, effect)
            continue
        with pytest.raises(OrderError, match=f"invalid choice: '{effect}'"):
            parse(f"fault {operation} {effect}")
