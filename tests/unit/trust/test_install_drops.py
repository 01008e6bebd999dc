"""Bundles that a pipeline drops into the inbox, and what it is told of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import BundleError, RefusedError, StoreError
from agent.trust import install
from agent.trust.install import make_inbox
from support.publishing import signing
from support.simulated.outside import START
from support.unit.trust.install import OTHER, InstallSite, code_of

# -- what its pipeline is told -----------------------------------------------------------------------------------------


def test_a_good_drop_is_told_at_each_stage(site: InstallSite) -> None:
    """Accepted, with what it changes; then installed. The drop itself is gone at once."""
    site.dropped()
    change = site.receiver.take_drop("x.tar")
    assert change is not None
    told = site.told()
    assert site.inbox == ["x.tar.outcome.json"]
    assert (told["outcome"], told["change"], told["phase"], told["version"]) == (
        "in-progress", change.id, "prepared", 1,
    )  # fmt: skip
    assert [anchor["name"] for anchor in told["added"]] == ["Sandbox endpoint root B"]
    assert told["removed"] == []
    assert any("Amazon Root CA 1 is missing" in words for words in told["warnings"])
    site.rig.follow()
    end = site.conclude()
    assert (end["outcome"], end["phase"]) == ("installed", "committed")
    assert end["message"] == "The anchors are in use, and held through probation."
    assert end["added"] == told["added"]
    assert site.conclude() == end


def test_a_drop_whose_anchors_do_not_reach_the_endpoint_is_told_so(site: InstallSite) -> None:
    """The live trial refused them."""
    site.drop(signing.archive(site.publisher.publish(OTHER.pem)))
    site.receiver.take_drop("x.tar")
    site.rig.follow()
    told = site.conclude()
    assert (told["outcome"], told["class"], told["phase"]) == ("refused", "server-trust", "rejected")
    assert told["message"].endswith(".")
    assert told["remedy"]
    assert [anchor["name"] for anchor in told["removed"]] == ["Sandbox endpoint root A"]


def test_a_drop_that_a_person_gave_up_is_told_so(site: InstallSite) -> None:
    """Before it was used."""
    site.dropped()
    site.receiver.take_drop("x.tar")
    site.rig.engine.give_up("the wrong one")
    site.rig.follow()
    assert site.conclude()["outcome"] == "given-up"


def test_a_drop_whose_anchors_fail_in_probation_is_told_so(site: InstallSite) -> None:
    """The anchors before are in use again."""
    site.dropped()
    site.receiver.take_drop("x.tar")
    site.rig.follow(patience=timedelta(minutes=2))
    assert site.conclude()["outcome"] == "in-progress"
    site.rig.endpoint.root_sha256 = "00" * 32
    site.rig.follow(patience=timedelta(days=1))
    before = site.conclude()["outcome"]
    site.rig.endpoint.root_sha256 = site.rig.anchors().anchors[0].sha256
    site.rig.follow(patience=timedelta(days=1))
    assert (before, site.conclude()["outcome"]) in {("in-progress", "installed"), ("rolled-back", "rolled-back")}


def test_a_drop_of_what_is_in_use_is_told_so(site: InstallSite) -> None:
    """No change comes of it."""
    site.drop(signing.archive(site.publisher.publish(site.rig.root.pem)))
    assert site.receiver.take_drop("x.tar") is None
    told = site.told()
    assert (told["outcome"], told["message"]) == ("unchanged", "These anchors are in use already.")
    assert site.inbox == ["x.tar.outcome.json"]
    assert site.rig.at_rest


def test_a_drop_that_waits_for_the_clock_stays(site: InstallSite) -> None:
    """It is judged again when the clock is set."""
    site.dropped()
    site.rig.clock.time = datetime(1970, 1, 1, tzinfo=UTC)
    assert code_of(lambda: site.receiver.take_drop("x.tar"))[0] == "clock"
    told = site.told()
    assert (told["outcome"], told["code"]) == ("waiting", "clock")
    assert "timedatectl" in told["remedy"]
    assert site.inbox == ["x.tar", "x.tar.outcome.json"]
    site.rig.clock.time = START
    assert site.receiver.take_drop("x.tar") is not None
    assert site.told()["outcome"] == "in-progress"


@pytest.mark.parametrize("busy", ["change", "nothing enrolled"])
def test_a_drop_that_comes_at_a_bad_time_stays(busy: str, site: InstallSite) -> None:
    """What is in flight comes first, and without a set there is nothing to give anchors to."""
    if busy == "change":
        site.rig.to_probation()
    else:
        site.rig.damage(1)
    site.dropped()
    with pytest.raises(RefusedError):
        site.receiver.take_drop("x.tar")
    told = site.told()
    assert (told["outcome"], told["code"]) == ("waiting", "not-now")
    assert "x.tar" in site.inbox


@pytest.mark.parametrize("content", [b"", b"garbage", OTHER.pem])
def test_a_drop_that_is_refused_is_removed(content: bytes, site: InstallSite) -> None:
    """What is told stays."""
    site.drop(content)
    with pytest.raises(BundleError) as caught:
        site.receiver.take_drop("x.tar")
    told = site.told()
    assert (told["outcome"], told["code"], told["message"]) == ("refused", caught.value.code, str(caught.value))
    assert site.inbox == ["x.tar.outcome.json"]


def test_a_drop_that_was_taken_away_again_is_nothing(site: InstallSite) -> None:
    """Nothing is told of it."""
    assert site.receiver.take_drop("x.tar") is None
    assert site.inbox == []


def test_a_folder_in_the_inbox_is_left_alone(site: InstallSite) -> None:
    """It is told that it is no bundle."""
    (site.config.inbox / "x.tar").mkdir()
    assert code_of(lambda: site.receiver.take_drop("x.tar"))[0] == "not-a-file"
    assert site.told()["outcome"] == "refused"
    assert (site.config.inbox / "x.tar").is_dir()


def test_only_the_drop_that_became_a_change_is_concluded(site: InstallSite) -> None:
    """Another one under the same name since then has a story of its own; so has one that another program tells of."""
    site.dropped()
    site.receiver.take_drop("x.tar")
    site.rig.follow()
    assert site.conclude()["outcome"] == "installed"
    site.drop(b"garbage")
    assert code_of(lambda: site.receiver.take_drop("x.tar"))[0] == "archive"
    assert site.conclude()["code"] == "archive"
    (site.config.inbox / "x.tar.outcome.json").write_bytes(b"[]")
    install.conclude(site.config, site.rig.store.history())
    assert (site.config.inbox / "x.tar.outcome.json").read_bytes() == b"[]"


def test_outcomes_of_others_keep_no_end_from_being_told(site: InstallSite) -> None:
    """However many there are of a pipeline that never clears up."""
    site.dropped()
    site.receiver.take_drop("x.tar")
    for number in range(1_200):
        (site.config.inbox / f"a{number}.outcome.json").touch()
    site.rig.follow()

    assert site.conclude()["outcome"] == "installed"


def test_what_the_pipeline_took_away_is_not_told_again(site: InstallSite) -> None:
    """And an inbox that is gone is no trouble of the change's."""
    site.dropped()
    site.receiver.take_drop("x.tar")
    site.rig.follow()
    (site.config.inbox / "x.tar.outcome.json").unlink()
    install.conclude(site.config, site.rig.store.history())
    assert site.inbox == []
    site.config.inbox.rmdir()
    install.conclude(site.config, site.rig.store.history())


def test_a_change_that_cannot_be_written_leaves_the_drop(site: InstallSite) -> None:
    """It is tried again when the disk is well."""
    site.dropped()
    site.rig.disk.fail("prepare")
    with pytest.raises(StoreError):
        site.receiver.take_drop("x.tar")
    assert site.inbox == ["x.tar"]
    assert site.receiver.take_drop("x.tar") is not None


# -- the inbox itself --------------------------------------------------------------------------------------------------


def test_an_inbox_in_the_state_directory_is_made_where_bundles_are_accepted(site: InstallSite) -> None:
    """One elsewhere is its owner's, and a gateway that takes no bundles has none."""
    own = replace(site.config, trust=replace(site.config.trust, inbox=None))
    for config in (site.config, replace(own, trust=replace(own.trust, root=None))):
        make_inbox(config)
        assert not (site.rig.path / "inbox").exists()
    for _ in range(2):
        make_inbox(own)
        assert (site.rig.path / "inbox").stat().st_mode & 0o777 == 0o700
