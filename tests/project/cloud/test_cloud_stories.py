"""Each flaw, race and attack that the cloud's side was designed against has a test of its own, which is named here."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

STORIES = Path(__file__).parents[2] / "scenarios" / "account"
PAGE = Path(__file__).parents[3] / "docs" / "vending-machine.md"

# What other backends do, by the name of the flaw.
FLAWS = {
    "revoke before issue": ("peers", "revoke_before_issue"),
    "spent on request": ("peers", "spent_on_request"),
    "deactivate in hook": ("peers", "deactivate_in_hook"),
    "revoke all others, asked for by payload": ("peers", "revoke_all_others"),
    "the caller is whom the payload names": ("attacks", "a_payload_names_another_caller_and_thing"),
    "wedge": ("peers", "wedge"),
    "no grace at all": ("peers", "no_grace_at_all"),
    "clean-up that hangs on an event": ("peers", "clean_up_that_hangs_on_an_event"),
    "keep the last signed": ("peers", "keep_the_last_signed"),
    "a name that is part of another": ("attacks", "a_name_that_begins_like_anothers_is_another"),
    "mitigation as outage": ("peers", "mitigation_as_outage"),
    "the claim's holder names any thing": ("peers", "claim_holder_names_any_thing"),
    "a weaker certificate": ("peers", "a_weaker_certificate"),
}

RACES = {
    "RegisterThing's reply is lost": ("races", "the_reply_to_a_registration_is_lost_and_the_same_token_is_sent_again"),
    "power cut after the hook": ("races", "the_power_is_cut_after_the_hook_and_the_gateway_makes_another_request"),
    "RegisterThing half applied": ("races", "a_registration_is_applied_by_half"),
    "hook slow or down": ("races", "the_hook_is_slow_or_down"),
    "retirement twice, late, out of order": ("races", "a_retirement_is_asked_for_twice_late_and_out_of_order"),
    "what a rollback made current": ("races", "a_late_request_names_what_a_rollback_has_made_current_again"),
    "retirement before the commit": ("races", "a_retirement_before_the_commit"),
    "each other's retirement": ("races", "two_certificates_ask_for_each_others_retirement_step_by_step"),
    "sweep and rescue": ("sweep", "the_operator_rescues_at_any_step_of_the_sweep"),
    "the last way back": ("sweep", "the_way_back_to_a_thing_without_an_active_certificate_is_kept"),
    "detaching has not spread": ("sweep", "taking_off_a_thing_has_not_spread_when_the_next_round_comes"),
    "the registry lags": ("races", "the_list_of_things_lags_behind_the_registration"),
    "two functions, one serial number": ("races", "two_functions_claim_one_serial_number"),
    "the vending machine dies": ("vending_races", "a_function_dies_at_any_step_and_the_request_comes_again"),
    "what it made is not fetched": ("vending_races", "a_function_dies_and_the_request_never_comes_again"),
    "what a rotation asks": ("races", "what_a_rotation_asks_of_the_registry"),
    "six hours of outage": ("races", "six_hours_in_which_nothing_answers"),
}

ATTACKS = {
    "stolen claim certificate": ("attacks", "a_stolen_claim_certificate_enrols_nothing_without_a_token"),
    "the claim is deactivated": ("attacks", "the_operator_deactivates_a_stolen_claim_certificate"),
    "a stolen claim at the vending machine": ("vending_attacks", "a_stolen_claim_certificate_buys_nothing_here"),
    "five claims": ("attacks", "a_token_buys_five_certificates_of_one_thing_at_most"),
    "token thief, before the device": ("attacks", "a_thief_has_the_token_before_the_gateway_has_it"),
    "the same at the vending machine": (
        "vending_attacks", "a_token_thief_before_the_device_is_an_alarm_when_the_device_comes",
    ),
    "token replay": ("attacks", "a_token_is_replayed_after_the_enrolment"),
    "replay at the vending machine": ("vending_attacks", "a_token_replay_after_enrolment_buys_nothing"),
    "rotates in another's name": ("attacks", "a_gateway_rotates_in_anothers_name"),
    "retires another's": ("attacks", "a_gateway_retires_anothers_certificate"),
    "another thing's name at the vending machine": ("vending_attacks", "one_gateway_asks_for_another_things_name"),
    "another thing's request at the vending machine": ("vending_attacks", "one_request_is_sold_for_two_serial_numbers"),
    "taken over": ("attacks", "a_gateway_that_was_taken_over_mints_certificates"),
    "taken over, at the vending machine": (
        "vending_attacks", "a_gateway_taken_over_mints_no_certificates_by_its_token",
    ),
    "replaced, and in a thief's hands": ("replacement", "the_old_device_asks_for_the_retirement_of_the_new_ones"),
    "guesser: one answer": ("vending_attacks", "a_guesser_at_the_vending_api_hears_one_answer_for_all_refusals"),
    "guesser: ten failures": ("vending_attacks", "a_guesser_at_the_vending_api_is_not_heard_after_ten_wrong_tokens"),
    "a forged answer": ("attacks", "an_answer_that_was_forged_changes_nothing_in_the_account"),
    "guesser: locks a gateway out": ("vending_attacks", "a_guesser_at_the_vending_api_locks_no_gateway_out"),
    "the stack is deleted": ("attacks", "the_stack_was_deleted_with_its_tables_and_deployed_again"),
    "its tables are lost, at the vending machine": ("vending_attacks", "an_operators_error_loses_the_tables"),
}  # fmt: skip

# Who tries what at the vending machine, by its page, and the tests that show what comes of it.
STRANGERS = {
    ("a guesser", "serial numbers and tokens"): (
        "a_guesser_at_the_vending_api_hears_one_answer_for_all_refusals",
        "a_guesser_at_the_vending_api_learns_nothing_from_what_is_looked_up",
        "a_guesser_at_the_vending_api_is_not_heard_after_ten_wrong_tokens",
        "a_guesser_at_the_vending_api_says_where_it_comes_from",
    ),
    ("the same", "to lock a gateway out by wrong tokens"): ("a_guesser_at_the_vending_api_locks_no_gateway_out",),
    ("one address", "to flood it"): ("ten_times_the_throttle_from_one_address_changes_nothing_for_others",),
    ("many addresses", "to flood it"): ("a_flood_from_many_addresses_leaves_gateways_in_the_field_alone",),
    ("who has a token before its gateway", "to be first"): (
        "a_token_thief_before_the_device_is_an_alarm_when_the_device_comes",
    ),
    ("who has a spent token", "to buy again"): ("a_token_replay_after_enrolment_buys_nothing",),
    ("who has a stolen certificate, expired or not", "to buy another one"): (
        "a_stolen_expired_certificate_helps_nothing",
    ),
}


@cache
def told_in(module: str) -> frozenset[str]:
    """Return the names of a module's tests."""
    prefix = "" if module.startswith("vending") else "account_"
    tree = ast.parse((STORIES / f"test_{prefix}{module}.py").read_text())
    return frozenset(item.name for item in tree.body if isinstance(item, ast.FunctionDef))


@pytest.mark.parametrize(("module", "name"), [*FLAWS.values(), *RACES.values(), *ATTACKS.values()])
def test_it_has_a_test_of_its_name(module: str, name: str) -> None:
    """In the module where its like are."""
    assert f"test_{name}" in told_in(module)


def test_what_the_page_says_that_strangers_can_do_is_tried() -> None:
    """Each row of it, and nothing that is not in it."""
    rows = PAGE.read_text().partition("| who | tries | what comes of it |\n")[2].partition("\n\n")[0].splitlines()[1:]
    told = [tuple(cell.strip() for cell in row.split("|")[1:3]) for row in rows]
    assert told == list(STRANGERS)
    named = {f"test_{name}" for names in STRANGERS.values() for name in names}
    assert named <= told_in("vending_attacks")
