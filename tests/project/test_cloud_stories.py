"""Each flaw, race and attack that the cloud's side was designed against has a test of its own, which is named here."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

SCENARIOS = Path(__file__).parents[1] / "scenarios"

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
    "sweep and rescue": ("races", "the_operator_rescues_at_any_step_of_the_sweep"),
    "the last way back": ("races", "the_way_back_to_a_thing_without_an_active_certificate_is_kept"),
    "detaching has not spread": ("races", "taking_off_a_thing_has_not_spread_when_the_next_round_comes"),
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
    "taken over": ("attacks", "a_gateway_that_was_taken_over_mints_certificates"),
    "replaced, and in a thief's hands": ("replacement", "the_old_device_asks_for_the_retirement_of_the_new_ones"),
    "guesser: one answer": ("vending_attacks", "a_guesser_at_the_vending_api_hears_one_answer_for_all_refusals"),
    "guesser: ten failures": ("vending_attacks", "a_guesser_at_the_vending_api_is_not_heard_after_ten_wrong_tokens"),
    "a forged answer": ("attacks", "an_answer_that_was_forged_changes_nothing_in_the_account"),
    "the stack is deleted": ("attacks", "the_stack_was_deleted_with_its_tables_and_deployed_again"),
}  # fmt: skip


@cache
def told_in(module: str) -> frozenset[str]:
    """Return the names of a module's tests."""
    prefix = "" if module.startswith("vending") else "account_"
    tree = ast.parse((SCENARIOS / f"test_{prefix}{module}.py").read_text())
    return frozenset(item.name for item in tree.body if isinstance(item, ast.FunctionDef))


@pytest.mark.parametrize(("module", "name"), [*FLAWS.values(), *RACES.values(), *ATTACKS.values()])
def test_it_has_a_test_of_its_name(module: str, name: str) -> None:
    """In the module where its like are."""
    assert f"test_{name}" in told_in(module)
