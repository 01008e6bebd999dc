"""Each check of a gateway: what it finds, and the words and the remedy that a person reads."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from agent.core.exit_codes import Exit
from agent.core.failure import failures
from agent.core.failure.codes import Code
from agent.core.report import checks
from agent.core.report.checks import CHECKS, CLOCK_TOLERANCE, Line, Server, Verdict, exit_of
from agent.core.timekeeping import BUILD_TIME, ClockState
from agent.crypto.root_lists import known
from support import make
from support.make import DAY, HOUR, MINUTE, NOW, SECOND

if TYPE_CHECKING:
    from agent.core.timekeeping import Reading
    from agent.core.values import CertificateFacts

HOST = "abc123-ats.iot.eu-west-1.amazonaws.com"
LEGACY = "abc123.iot.eu-west-1.amazonaws.com"
OWN = "gateways.example"
AMAZON = "CN=Amazon Root CA 1,O=Amazon,C=US"
VERISIGN = "CN=VeriSign Class 3 Public Primary Certification Authority - G5,O=VeriSign\\, Inc.,C=US"

UNSYNCHRONISED = make.reading(state=ClockState.UNSYNCHRONISED)
IN_1970 = make.reading(datetime.fromtimestamp(3600, tz=NOW.tzinfo), ClockState.IMPLAUSIBLE)


def said(line: Line) -> tuple[str, str, str]:
    """Return what a line comes to."""
    return line.check, line.verdict, line.code


def leaf(**changes: Any) -> CertificateFacts:
    """Return what a server's certificate says."""
    return make.certificate(**{"subject": f"CN={HOST}", "issuer": AMAZON, **changes})


# -- lines -------------------------------------------------------------------------------------------------------------


def test_every_check_has_a_name_of_its_own() -> None:
    """They come in the order of cause before effect."""
    assert len(set(CHECKS)) == len(CHECKS)
    order = ["configuration", "clock", "set", "endpoint", "dns", "tcp", "tls", "server", "connect", "permissions"]
    assert [check for check in CHECKS if check in order] == order


def test_a_line_that_was_not_looked_at_says_why_and_counts_for_nothing() -> None:
    """Skipping is neither success nor failure."""
    line = checks.skipped("tls", "the network is down")
    assert said(line) == ("tls", "skipped", "not-looked-at")
    assert line.text == "Skipped: the network is down."
    assert exit_of([line]) is Exit.DONE


# -- the clock ---------------------------------------------------------------------------------------------------------


AHEAD = make.reading(NOW + 9 * 365 * DAY, ClockState.UNSYNCHRONISED)


@pytest.mark.parametrize(
    ("reading", "served", "told", "expected", "words"),
    [
        (make.reading(), None, None, "ok", "and is synchronised."),
        (make.reading(), leaf(), NOW, "ok", "and is synchronised."),
        (make.reading(), leaf(), NOW + 3 * HOUR, "clock-wrong", "by the endpoint's own time it is 3 h behind."),
        (UNSYNCHRONISED, leaf(), NOW + 2 * MINUTE, "ok", "and is unsynchronised."),
        (UNSYNCHRONISED, leaf(), NOW - 2 * DAY, "clock-wrong", "by the endpoint's own time it is 2 d ahead."),
        (UNSYNCHRONISED, leaf(), None, "clock-unsynchronised", "and is not synchronised."),
        (UNSYNCHRONISED, None, None, "clock-unsynchronised", "and is not synchronised."),
        (UNSYNCHRONISED, leaf(not_before=NOW + 10 * DAY, not_after=NOW + 20 * DAY), None, "clock-wrong",
         "by the server's certificate it is at least 10 d behind."),
        (AHEAD, leaf(), None, "clock-wrong", "by the server's certificate it is at least 2921 d ahead."),
        (IN_1970, None, None, "clock-wrong", "which cannot be: it was certainly later than"),
        (IN_1970, leaf(), None, "clock-wrong", "which cannot be"),
        (IN_1970, leaf(), NOW, "clock-wrong", "by the endpoint's own time it is 20878 d behind."),
    ],
)  # fmt: skip
def test_the_clock_is_judged_by_what_tells_the_time(
    reading: Reading, served: CertificateFacts | None, told: datetime | None, expected: str, words: str
) -> None:
    """The endpoint's own time says how wrong it is; without it the floor, then the server's certificate."""
    line = checks.of_clock(reading, served, told)
    assert line.check == "clock"
    assert line.code == expected
    assert words in line.text
    assert f"{reading.now:%Y-%m-%d %H:%M:%S} UTC" in line.text
    verdicts = {"ok": Verdict.OK, "clock-wrong": Verdict.FAILURE, "clock-unsynchronised": Verdict.WARNING}
    assert line.verdict is verdicts[expected]
    assert bool(line.remedy) is (expected != "ok")


def test_a_few_minutes_are_forgiven() -> None:
    """TLS forgives them, too."""
    for sign in (1, -1):
        at = NOW + sign * CLOCK_TOLERANCE
        assert checks.of_clock(UNSYNCHRONISED, None, at).verdict is Verdict.OK
        assert checks.of_clock(UNSYNCHRONISED, None, at + sign * SECOND).verdict is Verdict.FAILURE


def test_a_clock_before_the_floor_says_which_floor() -> None:
    """The reader learns what is known to be past."""
    reading = make.reading(BUILD_TIME - DAY, ClockState.IMPLAUSIBLE)
    assert f"{BUILD_TIME:%Y-%m-%d %H:%M:%S}" in checks.of_clock(reading, None, None).text


# -- the endpoint ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "code", "words"),
    [
        (HOST, "ok", "an ATS endpoint of AWS IoT Core"),
        ("data.iot-fips.us-east-1.amazonaws.com", "ok", "a FIPS endpoint"),
        ("data-ats.iot.eu-west-1.api.aws", "ok", "a dual-stack endpoint"),
        (OWN, "ok", "a custom domain, which must chain to one of the anchors in use"),
        (LEGACY, "legacy-endpoint", f"Set `endpoint: {HOST}`."),
        ("abc123-ats.iot.eu-wset-1.amazonaws.com", "misspelt-endpoint", "aws iot describe-endpoint"),
    ],
)
def test_an_endpoint_is_judged_by_its_name(host: str, code: str, words: str) -> None:
    """A legacy or a misspelt name is a mistake in the configuration; the remedy is the name, or how to learn it."""
    line = checks.of_endpoint(host)
    assert line.code == code
    proven = checks.of_endpoint(host, verified=True)
    assert proven.code == ("ok" if code == "misspelt-endpoint" else code)
    assert host in proven.text
    assert words in line.text + line.remedy
    assert host in line.text or code == "misspelt-endpoint"
    assert line.exit is (Exit.DONE if code == "ok" else Exit.USAGE)


@pytest.mark.parametrize("region", ["mx-central-1", "ap-southeast-7", "us-gov-central-1", "eu-west-9"])
def test_a_region_that_may_be_new_is_a_doubt_and_no_mistake(region: str) -> None:
    """A gateway that is off line cannot know better; with a connection it is right."""
    host = f"abc123-ats.iot.{region}.amazonaws.com"
    line = checks.of_endpoint(host)
    assert (line.verdict, line.code, line.exit) == (Verdict.WARNING, "region-unknown", Exit.DEGRADED)
    assert f"knows no AWS region {region}" in line.text
    assert checks.of_endpoint(host, verified=True).code == "ok"
    assert checks.of_endpoint(host.replace(".com", ".co")).code == "misspelt-endpoint"


# -- TLS ---------------------------------------------------------------------------------------------------------------


TOO_OLD = failures.tls_version(HOST, "unsupported protocol")


@pytest.mark.parametrize(
    ("server", "verdict", "code", "words"),
    [
        (Server(host=HOST, version="TLSv1.3", takes=("TLSv1.2", "TLSv1.3")), "ok", "ok", "TLS 1.3 is agreed on."),
        (Server(host=HOST, version="TLSv1.2", takes=("TLSv1.2",)), "ok", "ok", "TLS 1.2 is agreed on."),
        (Server(host=HOST), "ok", "ok", "TLS is agreed on."),
        (Server(host=HOST, version="TLSv1.3", takes=("TLSv1.3",)), "warning", "tls-1.3-only", "TLS 1.3 only"),
        (Server(host=HOST, refusal=TOO_OLD, takes=("TLSv1",)), "failure", "tls-too-old", "newer than TLS 1.0"),
        (Server(host=HOST, refusal=TOO_OLD, takes=("TLSv1", "TLSv1.1")), "failure", "tls-too-old", "than TLS 1.1"),
        (Server(host=HOST, refusal=TOO_OLD), "failure", "tls-version", "no TLS version or cipher in common"),
        (Server(host=HOST, refusal=failures.not_tls(HOST, 8883, "SSH")), "failure", "not-tls", "TLS but SSH"),
        (Server(host=HOST, refusal=failures.tls_interrupted(HOST, "no answer in time")), "failure", "tls-interrupted",
         "was cut off (no answer in time)"),
        (Server(host=HOST, refusal=failures.unreachable(HOST, 8883, "refused")), "failure", "unreachable", "refused"),
        (Server(host=HOST, refusal=failures.server_certificate(HOST, Code.UNKNOWN_ROOT, "x"), takes=("TLSv1.2",)),
         "ok", "ok", "TLS is agreed on."),
    ],
)  # fmt: skip
def test_tls_is_judged_apart_from_trust(server: Server, verdict: str, code: str, words: str) -> None:
    """No TLS, none in common, one that leaves others out; a server that is not trusted speaks TLS all the same."""
    line = checks.of_tls(server)
    assert said(line) == ("tls", verdict, code)
    assert words in line.text
    assert bool(line.remedy) is (verdict != "ok")


# -- the server --------------------------------------------------------------------------------------------------------


ROOT = make.anchor(subject=AMAZON, issuer=AMAZON)
STALE = make.anchor(subject=AMAZON, issuer=AMAZON, not_after=NOW - DAY)


def judged(code: str, reading: Reading | None = None, **changes: Any) -> Line:
    """Return what is said of a server that is refused for some reason."""
    refusal = failures.server_certificate(HOST, Code(code), "it is") if code else None
    server = Server(**{"host": HOST, "refusal": refusal, "chain": (leaf(),), "anchors": (ROOT,), **changes})
    return checks.of_server(server, known(), reading or make.reading())


def test_a_verified_server_names_the_root() -> None:
    """What an endpoint chains to is worth knowing before it moves."""
    line = judged("", chain=(leaf(), ROOT))
    assert (line.verdict, line.text) == (Verdict.OK, "The server is verified; its chain ends in Amazon Root CA 1.")
    assert "one of the anchors in use" in judged("", chain=()).text


def test_a_verified_server_under_a_distrusted_root_is_a_warning() -> None:
    """It works today; the remedy is the ATS name where the endpoint is the legacy one."""
    root = make.anchor(subject=VERISIGN, issuer=VERISIGN)
    line = judged("", host=LEGACY, chain=(leaf(issuer=VERISIGN), root))
    assert said(line) == ("server", "warning", "distrusted-root")
    assert HOST in line.remedy
    assert "the ATS endpoint" in judged("", host=OWN, chain=(root,)).remedy


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("login.example", "portal.example"), f"is for login.example, portal.example, and not for {HOST}."),
        ((), f"is for no name at all, and not for {HOST}."),
        (tuple(f"{number}.example" for number in range(9)), "4.example, and not for"),
    ],
)
def test_a_certificate_for_another_name_says_for_which(names: tuple[str, ...], words: str) -> None:
    """At most five of them."""
    line = judged("wrong-host", names=names)
    assert said(line) == ("server", "failure", "wrong-host")
    assert words in line.text
    assert "`endpoint`" in line.remedy


@pytest.mark.parametrize("code", ["server-certificate-expired", "server-certificate-not-yet-valid"])
@pytest.mark.parametrize("reading", [UNSYNCHRONISED, IN_1970], ids=["unsynchronised", "1970"])
def test_a_clock_that_no_source_vouches_for_convicts_no_server(code: str, reading: Reading) -> None:
    """The clock comes first."""
    line = judged(code, reading, chain=(leaf(not_after=NOW - DAY),))
    assert line.code == "clock-wrong"
    assert "Set the clock first" in line.remedy


def test_what_has_expired_is_named() -> None:
    """The server's own certificate, the one above it, or our copy of the root: three different people must act."""
    expired = "server-certificate-expired"
    own = judged(expired, chain=(leaf(not_after=NOW - DAY), make.anchor()))
    assert own.code == "server-expired"
    assert HOST in own.text
    above = judged(expired, chain=(leaf(), make.anchor(subject="CN=Issuing CA", not_after=NOW - DAY)))
    assert above.code == "server-expired"
    assert "Issuing CA" in above.text
    ours = judged(expired, anchors=(make.anchor(subject="CN=Another"), STALE))
    assert ours.code == "anchor-expired"
    assert "Amazon Root CA 1" in ours.text
    assert "`iot-cert trust restore`" in ours.remedy
    assert judged(expired).code == "server-not-yet-valid"
    assert (
        judged("server-certificate-not-yet-valid", chain=(leaf(not_before=NOW + DAY),)).code == "server-not-yet-valid"
    )


def test_a_root_that_no_file_has_is_told_from_one_that_is_elsewhere() -> None:
    """Every story of a missing root has its own remedy; that we hold it and it has expired comes first."""
    unknown = "unknown-root"
    assert judged(unknown, anchors=(STALE,)).code == "anchor-expired"
    nothing = judged(unknown, chain=())
    assert "showed no certificate" in nothing.text
    assert "`endpoint` and `port`" in nothing.remedy
    assert "Bring" not in nothing.remedy
    nowhere = judged(unknown, host=OWN, chain=(leaf(issuer="CN=Root B"),), anchors=())
    assert (nowhere.code, "chain ends in Root B" in nowhere.text) == (unknown, True)
    assert "never connect unverified" in nowhere.remedy
    elsewhere = {"generation 6": (make.anchor(subject="CN=X"),), "the copy of the package": (ROOT,)}
    missing = judged(unknown, anchors=(), elsewhere=elsewhere)
    assert missing.code == "anchor-missing"
    assert "the copy of the package has" in missing.text
    assert "`iot-cert trust restore`" in missing.remedy


@pytest.mark.parametrize(
    ("issuer", "shown"),
    [("CN=Inspection CA,O=Corporate Proxy Inc.", "Corporate Proxy Inc."), ("CN=fw-7", "fw-7")],
)
def test_a_stranger_before_an_endpoint_of_aws_is_an_interception(issuer: str, shown: str) -> None:
    """AWS's names chain to Amazon and to no other authority; on a custom domain it may be the owner's own root."""
    line = judged("unknown-root", chain=(leaf(issuer=issuer),), anchors=())
    assert line.code == "intercepted"
    assert line.text.endswith(f"was issued by {shown.rstrip('.')}.")
    assert "unopened" in line.remedy
    assert judged("unknown-root", host=OWN, chain=(leaf(issuer=issuer),), anchors=()).code == "unknown-root"


@pytest.mark.parametrize(
    "issuer", [AMAZON, "CN=Starfield Services Root Certificate Authority - G2,O=Starfield Technologies\\, Inc.,C=US"]
)
def test_amazons_own_roots_are_no_interception(issuer: str) -> None:
    """A root of theirs that is missing here is missing here."""
    assert judged("unknown-root", chain=(leaf(issuer=issuer),), anchors=()).code == "unknown-root"


@pytest.mark.parametrize(
    "issuer",
    [VERISIGN, "CN=GeoTrust Global CA,O=Renamed", "CN=Whatever,O=Symantec Corporation,C=US"],
    ids=["verisign", "by name", "by organisation"],
)
def test_a_root_that_no_client_trusts_is_known_by_its_name(issuer: str) -> None:
    """A server need not send its root, so the name has to do; an interception it is not."""
    line = judged("unknown-root", host=LEGACY, chain=(leaf(issuer=issuer),), anchors=())
    assert line.code == "distrusted-root"
    assert "withdrew trust from Symantec's CAs" in line.text
    assert line.remedy == f"This is the legacy endpoint; set `endpoint: {HOST}`."


def test_a_reason_without_a_story_keeps_its_own_words() -> None:
    """No anchors at all, for one."""
    line = judged("no-anchors")
    assert said(line) == ("server", "failure", "no-anchors")
    assert line.text == "The server at abc123-ats.iot.eu-west-1.amazonaws.com is not trusted: it is."
    assert line.remedy


def test_the_words_of_a_line_end_in_a_full_stop() -> None:
    """They are sentences, whichever module worded them."""
    spans = (timedelta(), 2 * DAY)
    lines = [checks.of_clock(UNSYNCHRONISED, None, NOW + span) for span in spans]
    lines += [checks.of_endpoint(host) for host in (HOST, LEGACY, OWN)]
    lines += [judged(code) for code in ("", "wrong-host", "unknown-root", "server-certificate-expired")]
    assert [line.text for line in lines if not line.text.endswith(".")] == []
