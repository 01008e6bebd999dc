"""The mutants, by where they bite. One that is killed by no test is a rule that nothing holds."""

from __future__ import annotations

from support.mutantkit.copies import Mutant

MUTANTS = (
    # -- the change ----------------------------------------------------------------------------------------------------
    Mutant(
        name="lost-reply-is-not-counted",
        breaks="A request whose reply may be lost counts against the daily limit, whatever the clock shows at a start.",
        old="if record.phase is Phase.REQUESTED: return True action = decide.next_action(",
        new="action = decide.next_action(",
        killers=(
            "tests/scenarios/changes/test_budget_and_requests.py::test_a_request_whose_reply_was_lost_counts_after_a_start_in_1970",
        ),
    ),
    Mutant(
        name="one-more-than-the-daily-limit",
        breaks="A day has room for `daily_limit` requests and no more.",
        old="if len(recent) < limits.daily_limit:",
        new="if len(recent) <= limits.daily_limit:",
        killers=(
            "tests/scenarios/changes/test_budget_and_requests.py::test_the_fifth_request_within_a_day_waits_for_the_first_to_be_a_day_old",
        ),
    ),
    Mutant(
        name="any-clock-is-believed",
        breaks="Under a clock that cannot be right nothing is judged.",
        old="if not facts.clock.believable: return Wait(",
        new="if False: return Wait(",
        killers=("tests/scenarios/machine/test_clock.py::test_a_power_cut_that_takes_the_clock_along_judges_nothing",),
    ),
    Mutant(
        name="clock-set-back-waits-for-years",
        breaks="A clock that was set back must not turn a short delay into years.",
        old="return now < record.retry_at <= now + timedelta(seconds=LONGEST_DELAY)",
        new="return now < record.retry_at",
        killers=(
            "tests/scenarios/machine/test_clock.py::test_a_clock_set_back_by_a_year_in_a_retry_wait_does_not_wait_a_year",
        ),
    ),
    Mutant(
        name="anchors-wait-for-a-day",
        breaks="A change of anchors that cannot reach the endpoint gives way after minutes, not after a day.",
        old="patience = ANCHORS_PATIENCE if record.kind is Kind.TRUST else DAY",
        new="patience = DAY",
        killers=(
            "tests/scenarios/sets/test_lost_trust.py::test_a_trust_change_that_nothing_verifies_gives_way_to_the_next",
        ),
    ),
    Mutant(
        name="known-anchor-is-forgotten",
        breaks="A proof that cannot tell the anchor leaves the one that is known.",
        old="anchor=event.anchor or record.anchor",
        new="anchor=event.anchor",
        killers=(
            "tests/unit/core/change/test_sets_in_use.py::test_a_proof_that_cannot_tell_the_anchor_leaves_the_one_that_is_known",
        ),
    ),
    Mutant(
        name="refusal-without-a-witness",
        breaks="A refusal counts only when another set is accepted over the same path.",
        old="if control.accepted: return _refused(failure, control)",
        new="if control: return _refused(failure, control)",
        killers=("tests/unit/core/failure/test_failure.py::test_a_control_turns_a_doubt_into_a_verdict",),
    ),
    Mutant(
        name="witness-with-the-same-anchors",
        breaks="A set with the same anchors is no witness against the endpoint's certificate.",
        old="return failure.kind is not FailureClass.SERVER_TRUST or not same_anchors",
        new="return True",
        killers=(
            "tests/scenarios/cloud/test_endpoint.py::test_a_set_with_the_same_anchors_is_no_witness_against_the_endpoint",
        ),
    ),
    Mutant(
        name="claim-against-an-unverified-server",
        breaks="The ladder tries the claim only against a server that some anchors verified.",
        old="refused or (untrusted and _server_was_verified(attempts))",
        new="refused or untrusted",
        killers=("tests/unit/core/change/test_ladder.py::test_without_any_verified_server_the_claim_is_left_alone",),
    ),
    Mutant(
        name="certificate-for-another-key",
        breaks="A certificate is for the key that this gateway made, or it is refused.",
        old="if issuance.chain[0].spki_sha256 != issuance.key_sha256:",
        new="if not issuance.key_sha256:",
        killers=("tests/unit/core/change/test_acceptance.py::test_each_check_refuses_and_names_its_number",),
    ),
    # -- when ----------------------------------------------------------------------------------------------------------
    Mutant(
        name="dropped-certificate-is-retired",
        breaks="A certificate that the operator dropped from the list is not retired.",
        old="if record.retired_at or record.dropped_at} | set(in_use)",
        new="if record.retired_at} | set(in_use)",
        killers=(
            "tests/unit/core/when/test_retirement_others.py::test_what_was_dropped_is_settled_and_nothing_else_of_the_change_is_touched",
        ),
    ),
    Mutant(
        name="renewal-inside-the-emergency",
        breaks="The renewal window opens before the emergency, however short the certificate lives.",
        old="opens_at = min(opens_at, emergency_at)",
        new="opens_at = max(opens_at, not_before)",
        killers=("tests/unit/core/when/test_renewal.py::test_every_device_rotates_inside_the_window",),
    ),
    Mutant(
        name="window-over-midnight",
        breaks="A window that ends before it starts ends on the next day.",
        old="last = day if self.end > self.start else day + _DAY",
        new="last = day",
        killers=(
            "tests/unit/core/when/test_maintenance.py::test_a_window_past_midnight_belongs_to_the_day_it_starts_on",
        ),
    ),
    # -- the store -----------------------------------------------------------------------------------------------------
    Mutant(
        name="damaged-set-becomes-previous",
        breaks="A damaged generation is nothing to go back to.",
        old="before != number and …is_whole(before):",
        new="before != number:",
        killers=("tests/unit/store/sets/test_links.py::test_a_damaged_generation_does_not_become_previous",),
    ),
    Mutant(
        name="recovery-to-a-condemned-set",
        breaks="Recovery never puts a condemned generation in use.",
        old="change.phase in proven and not change.condemned else",
        new="change.phase in proven else",
        killers=("tests/unit/store/test_recovery.py::test_a_condemned_generation_never_becomes_current_by_recovery",),
    ),
    Mutant(
        name="recovery-to-a-damaged-set",
        breaks="Recovery puts only whole generations in use.",
        old="if …is_whole(candidate):",
        new="if candidate:",
        killers=("tests/unit/store/sets/test_readings.py::test_recovery_sees_what_rotted_unseen",),
    ),
    Mutant(
        name="half-erased-under-a-whole-name",
        breaks="A generation that is half erased must not bear the name of a whole one.",
        old="durable.rename(…, final_name(number), generations.stage_name(number))"
        " generations.erase(…, generations.stage_name(number))",
        new="generations.erase(…, final_name(number))",
        killers=("tests/unit/store/test_store.py::test_a_generation_that_is_half_erased_has_the_name_of_none",),
    ),
    Mutant(
        name="preflight-without-a-rename",
        breaks="A preflight finds out whether a directory can be renamed.",
        old="durable.move_unsynced(…, probe, moved)",
        new="pass",
        killers=("tests/unit/store/test_room.py::test_a_preflight_finds_out_that_no_directory_can_be_renamed",),
    ),
    Mutant(
        name="pruning-the-way-back",
        breaks="Pruning keeps the previous generation.",
        old="kept = {self.current(), self.previous(), *held}",
        new="kept = {self.current(), *held}",
        killers=("tests/unit/store/test_store.py::test_pruning_keeps_current_previous_and_so_many_more",),
    ),
    Mutant(
        name="staged-key-is-kept-unseen",
        breaks="A staged key that is not the certificate's is written anew.",
        old="keep = {KEY} if KEY in present and …read(dir_fd, KEY, MAX_FILE) == files[KEY] else",
        new="keep = {KEY} if KEY in present else",
        killers=("tests/unit/store/sets/test_generations.py::test_preparing_keeps_no_staged_key_that_is_another",),
    ),
    Mutant(
        name="generation-of-another-number",
        breaks="A generation that lies under another's number is damaged.",
        old="if found.number != number:",
        new="if not found.number:",
        killers=("tests/unit/store/sets/test_generations.py::test_a_generation_under_another_number_is_seen",),
    ),
    Mutant(
        name="rename-over-a-generation",
        breaks="A directory gets its final name only when that is free.",
        old="if …exists(dir_fd, new): raise StoreError(",
        new="if not new: raise StoreError(",
        killers=("tests/unit/store/files/test_durable.py::test_renaming_needs_a_free_name",),
    ),
    Mutant(
        name="file-beyond-its-limit",
        breaks="A file is read up to its limit and no further.",
        old="if len(data) > limit: raise DamagedError(",
        new="if not limit: raise DamagedError(",
        killers=("tests/unit/store/files/test_disk.py::test_an_oversize_file_is_refused",),
    ),
    # -- trust ---------------------------------------------------------------------------------------------------------
    Mutant(
        name="archive-of-any-size",
        breaks="An archive is unpacked up to a limit, whatever it grows to.",
        old="if len(plain) > MAX_ARCHIVE or unpacker.unconsumed_tail:",
        new="if len(plain) < 0:",
        killers=("tests/unit/trust/test_archives.py::test_a_gzip_bomb_is_refused",),
    ),
    Mutant(
        name="name-that-leaves-the-archive",
        breaks="A name in an archive is plain, and leads nowhere else.",
        old="all(_NAME.fullmatch(part) for part in parts)",
        new="all(parts)",
        killers=("tests/unit/trust/test_archives.py::test_a_name_that_is_not_plain_is_refused",),
    ),
    Mutant(
        name="hash-is-not-compared",
        breaks="An archive that was named with a hash has it.",
        old="if digest is not None and sha256(data).hexdigest() != digest.lower():",
        new="if digest is not None and not data:",
        killers=("tests/unit/trust/test_install_downloads.py::test_an_archive_with_another_hash_is_refused",),
    ),
    Mutant(
        name="what-was-learnt-is-forgotten",
        breaks="What was learnt of the signers is durable, so that no older bundle is taken.",
        old="if reader.memory != before: tuf_state.write(",
        new="if not reader.memory: tuf_state.write(",
        killers=("tests/unit/trust/test_attacks.py::test_b01_rollback",),
    ),
    Mutant(
        name="bundle-for-another-product",
        breaks="A bundle is for the products that it names.",
        old="if signed.compatible and mine not in signed.compatible:",
        new="if signed.compatible and mine is None:",
        killers=("tests/unit/trust/test_install.py::test_a_bundle_is_for_the_products_that_it_names",),
    ),
    Mutant(
        name="image-with-older-anchors",
        breaks="An image that was rolled back brings no older anchors with it.",
        old="return mine > theirs.issued_at",
        new="return mine != theirs.issued_at",
        killers=("tests/unit/core/trust/test_updates.py::test_a_baked_copy_is_taken_up_when_it_is_newer",),
    ),
    # -- who may, and what leaves --------------------------------------------------------------------------------------
    Mutant(
        name="readers-are-admins",
        breaks="A group that may look may not change anything.",
        old="peer.groups & admins:",
        new="peer.groups & (admins | readers):",
        killers=("tests/unit/system/test_peers.py::test_everybody_has_their_role",),
    ),
    Mutant(
        name="arguments-of-commands-leave",
        breaks="Arguments of a command may be secrets and are no part of a support bundle.",
        old='_KEPT = {"parameters": 0, "command": 1}',
        new='_KEPT = {"parameters": 0}',
        killers=("tests/unit/config/test_redacted.py::test_arguments_of_a_command_are_cut_out",),
    ),
    Mutant(
        name="key-of-another-certificate",
        breaks="A key and a certificate are a set only when they belong together.",
        old="owner = public_key_sha256(key_pem)",
        new="owner = facts[0].spki_sha256",
        killers=("tests/unit/crypto/test_keys.py::test_a_key_that_is_not_the_certificates_is_refused",),
    ),
    Mutant(
        name="password-that-all-may-read",
        breaks="A password that others may read is none.",
        old="if stat.S_ISREG(status.st_mode) and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):",
        new="if stat.S_ISREG(status.st_mode):",
        killers=("tests/unit/dependants/test_passwords.py::test_a_password_that_others_may_read_is_none",),
    ),
    Mutant(
        name="copy-that-is-missing",
        breaks="Root takes as many copies from the unprivileged reader as it asked for.",
        old="if len(found.copies) != copies or not",
        new="if not",
        killers=("tests/unit/dependants/test_export.py::test_an_answer_that_is_none_is_an_error",),
    ),
    Mutant(
        name="new-copy-without-a-reload",
        breaks="A program reads again what was written anew for it.",
        old="done = frozenset() if written.changed or tidied else done",
        new="done = frozenset(done)",
        killers=("tests/unit/dependants/test_deployer_troubles.py::test_a_copy_that_failed_is_tried_again",),
    ),
    Mutant(
        name="one-user-takes-all-connections",
        breaks="One user gets no more than its share of the control socket.",
        old="return same >= limits.per_uid or count >=",
        new="return same < 0 or count >=",
        killers=("tests/unit/daemon/control/test_server_limits.py::test_one_user_gets_no_more_than_its_share",),
    ),
)
