"""The catalogue of journal messages: what happened, under a name and a number that never change.

Rules:

* The number (MESSAGE_ID) is what alerts and `journalctl MESSAGE_ID=…` match. It is never reused and never changed; an
  event that comes to mean something else gets a new one.
* Each event has one entry in ``systemd/iot-cert-agent.catalog``, which tells a technician what to do; the tests compare
  the two.
* The priority says who should look: errors need a person, warnings may, the rest is for the record. What the agent
  gets over by itself, such as a lost network, is no error.
* Nothing here writes anything; see `agent.system.service.journal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from agent.core.change.lifecycle import Phase
from agent.core.failure.failure import FailureClass
from agent.core.text import printable


class Priority(IntEnum):
    """How much an event matters, by syslog's numbers."""

    CRITICAL = 2  # this gateway cannot connect, and will not by itself
    ERROR = 3  # a person has to do something
    WARNING = 4  # it did not go as it should; the agent deals with it
    NOTICE = 5  # what an auditor asks for
    INFO = 6


class Event(StrEnum):
    """What can happen, by its stable name."""

    STARTED = "started"
    STOPPING = "stopping"
    RELOADED = "reloaded"
    RELOAD_REFUSED = "reload-refused"
    CHANGE_PLANNED = "change-planned"
    CHANGE_COMMITTED = "change-committed"
    CHANGE_REJECTED = "change-rejected"
    CHANGE_ROLLED_BACK = "change-rolled-back"
    CHANGE_WAITS = "change-waits"
    TROUBLE_NETWORK = "trouble-network"
    TROUBLE_CLOCK = "trouble-clock"
    TROUBLE_SERVER_TRUST = "trouble-server-trust"
    TROUBLE_CREDENTIAL = "trouble-credential"
    TROUBLE_POLICY = "trouble-policy"
    TROUBLE_THROTTLED = "trouble-throttled"
    TROUBLE_STORE = "trouble-store"
    TROUBLE_PROTOCOL = "trouble-protocol"
    TROUBLE_DEPENDANT = "trouble-dependant"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    TAKEN_OVER = "taken-over"
    CLIENT_ID_SHARED = "client-id-shared"
    LADDER = "ladder"
    LOCKED_OUT = "locked-out"
    RETIRED = "retired"
    RETIRE_REFUSED = "retire-refused"
    RETIRE_UNANSWERED = "retire-unanswered"
    RETIRE_WAITS = "retire-waits"
    RETIRE_DROPPED = "retire-dropped"
    ORDER_TAKEN = "order-taken"
    ORDER_REFUSED = "order-refused"
    PAUSED = "paused"
    RESUMED = "resumed"
    JOB_ACCEPTED = "job-accepted"
    JOB_REJECTED = "job-rejected"
    JOB_DONE = "job-done"
    WISH_REFUSED = "wish-refused"
    CERTIFICATE_EXPIRING = "certificate-expiring"
    CERTIFICATE_EXPIRED = "certificate-expired"
    ANCHOR_EXPIRING = "anchor-expiring"
    ANCHORS_DOUBTFUL = "anchors-doubtful"
    BUNDLE_REFUSED = "bundle-refused"
    WATCHED_EXPIRING = "watched-expiring"
    CLOCK_IMPLAUSIBLE = "clock-implausible"
    REPLACED_BY_HAND = "replaced-by-hand"
    WORKER_DIED = "worker-died"
    NOTICE_FAILED = "notice-failed"
    DEFECT = "defect"
    PROGRESS = "progress"

    @property
    def message(self) -> Message:
        """Its number, priority and title."""
        return CATALOGUE[self]


@dataclass(frozen=True)
class Message:
    """What stands for an event in the journal.

    Attributes:
        id: The MESSAGE_ID: 128 bits as 32 lower-case hexadecimal digits.
        priority: Who should look.
        title: A few words, the same as the subject in the catalogue file.
    """

    id: str
    priority: Priority
    title: str


P = Priority
CATALOGUE: dict[Event, Message] = {
    Event.STARTED: Message("67513a9215d443628eeda8fd8532a893", P.NOTICE, "The certificate agent is running"),
    Event.STOPPING: Message("55de830a9baa4dec8a8d149ba15e6960", P.NOTICE, "The certificate agent is stopping"),
    Event.RELOADED: Message("365a1bf74f334c888b9851c734b6fa90", P.NOTICE, "The configuration was read again"),
    Event.RELOAD_REFUSED: Message("1287baa92769437c8d36b3ea56c0da62", P.ERROR, "The new configuration is not used"),
    Event.CHANGE_PLANNED: Message("f9f921e038804417a7b4188ca2cd2881", P.NOTICE, "A change of the certificate begins"),
    Event.CHANGE_COMMITTED: Message("c3cdd5a49df14bf3ada5ef0bed94e1b5", P.NOTICE, "The new certificate is final"),
    Event.CHANGE_REJECTED: Message("661efb87788c4dcbb7a349d347ce1064", P.ERROR, "A change was given up"),
    Event.CHANGE_ROLLED_BACK: Message("ded990e26d1d47819572d16f8a704bcc", P.ERROR, "The previous set is in use again"),
    Event.CHANGE_WAITS: Message("4994404501784b5c855e761bf175f355", P.INFO, "A change waits"),
    Event.TROUBLE_NETWORK: Message("ed086b777250488cab97cf795bb7f0fc", P.WARNING, "The endpoint cannot be reached"),
    Event.TROUBLE_CLOCK: Message("3f57ed2e5e9544adad4d5efe2b74425b", P.WARNING, "The clock has to be set first"),
    Event.TROUBLE_SERVER_TRUST: Message(
        "cd15adbd8ed54bcf97e61f4e4b63903f", P.ERROR, "Trust anchors do not verify the endpoint"
    ),
    Event.TROUBLE_CREDENTIAL: Message("6c7bcd26be2140fd9e2150e385df1eaa", P.ERROR, "A certificate is refused"),
    Event.TROUBLE_POLICY: Message("6e0e549c15804c58bf27f71d81c65f94", P.WARNING, "A certificate is not authorised"),
    Event.TROUBLE_THROTTLED: Message("e8339248436e487ebfb85f6b27250d3b", P.INFO, "AWS IoT Core throttles requests"),
    Event.TROUBLE_STORE: Message("5e1308da2f6e4083b0c9f8db1bf585c4", P.ERROR, "The state directory cannot be used"),
    Event.TROUBLE_PROTOCOL: Message("a4e017c72668431ebdaaaff99f48232f", P.WARNING, "A reply could not be accepted"),
    Event.TROUBLE_DEPENDANT: Message(
        "88f8675e752a459f821d08d548dabb83", P.ERROR, "Another program does not use the certificate"
    ),
    Event.CONNECTED: Message("0164b758698547d5b373003c858550d9", P.INFO, "Connected to the endpoint"),
    Event.DISCONNECTED: Message("5f5f2c661e024f1db11e396d321b9ecb", P.INFO, "The connection has ended"),
    Event.TAKEN_OVER: Message("d1c9bfa206814569b707ed26c7f3fb43", P.WARNING, "Another client uses the same client id"),
    Event.CLIENT_ID_SHARED: Message(
        "4b83b7a35e40489a86f0d30be25566c1", P.WARNING, "The agent may share its client id with an application"
    ),
    Event.LADDER: Message("0d8779725c094eff8524e11c1a6a595d", P.WARNING, "Looking for a set that connects"),
    Event.LOCKED_OUT: Message("ca0948e162744c0794924c6bdeb295de", P.CRITICAL, "No set connects any more"),
    Event.RETIRED: Message("3591bef446f648a39901f8ea7661167b", P.NOTICE, "The replaced certificate is retired"),
    Event.RETIRE_REFUSED: Message("2b1cbee82c9c411abb14b1f7a5682625", P.WARNING, "A retirement was refused"),
    Event.RETIRE_UNANSWERED: Message(
        "8c9d93ffdd444acba1ff115885d5cb35", P.NOTICE, "A request for a retirement has no answer"
    ),
    Event.RETIRE_WAITS: Message(
        "3c47db9e6b334c0789d7dc617174c987", P.WARNING, "A retirement waits for another program"
    ),
    Event.RETIRE_DROPPED: Message("86589e27971743afa21076b4b8f15892", P.NOTICE, "A retirement was dropped"),
    Event.ORDER_TAKEN: Message("e33221c49f274fc7b89ecf6011239c9c", P.NOTICE, "An order was given on this gateway"),
    Event.ORDER_REFUSED: Message("50506b743d8a4185afe098fc62970605", P.WARNING, "An order was refused"),
    Event.PAUSED: Message("138aad38c69d494687e52c9076436ae9", P.NOTICE, "Scheduled changes are paused"),
    Event.RESUMED: Message("2fed28e43e1a40e69858e691846934a9", P.NOTICE, "Scheduled changes are resumed"),
    Event.JOB_ACCEPTED: Message("0f0050d6f749448388994d45cd44ab9d", P.NOTICE, "A job from the cloud begins"),
    Event.JOB_REJECTED: Message("a7bc178444da400c87dc7736c4d7e065", P.WARNING, "A job from the cloud was rejected"),
    Event.JOB_DONE: Message("23ba3c8fb26f46e0b6a00a2e39265211", P.NOTICE, "A job from the cloud has ended"),
    Event.WISH_REFUSED: Message("529d701f95a64e0cb3f7a0eb411c2cef", P.WARNING, "A wish in the shadow is not followed"),
    Event.CERTIFICATE_EXPIRING: Message("63730276c48b4461beb8a267eb5ab215", P.ERROR, "The certificate expires soon"),
    Event.CERTIFICATE_EXPIRED: Message("8683aff1227a45d8a145249069161ae8", P.CRITICAL, "The certificate has expired"),
    Event.ANCHOR_EXPIRING: Message("4a47119ab88f4d9db7f173d9d3381768", P.WARNING, "A trust anchor expires soon"),
    Event.ANCHORS_DOUBTFUL: Message(
        "d4b3f5de4fb14dcea8b2b8dd0d3c0be7", P.WARNING, "The trust anchors are not as they should be"
    ),
    Event.BUNDLE_REFUSED: Message(
        "e02ba5b3d3174aaeaf15dee20c750b1f", P.WARNING, "A bundle of trust anchors was refused"
    ),
    Event.WATCHED_EXPIRING: Message(
        "a3e99d8dc4b644a9abd41a734ddc26d5", P.WARNING, "A watched certificate expires soon"
    ),
    Event.CLOCK_IMPLAUSIBLE: Message("6c7f1c372fb7462798d55a2d93467686", P.ERROR, "The clock is certainly wrong"),
    Event.REPLACED_BY_HAND: Message(
        "f307010ce125419591d2d20a6016a186", P.WARNING, "Credential files were modified outside the agent"
    ),
    Event.WORKER_DIED: Message("f739253e29fe4f51a293346a8742695f", P.ERROR, "A change's process died"),
    Event.NOTICE_FAILED: Message("5efd5164eb3844a6aae9e3ba61396845", P.WARNING, "A notice could not be given"),
    Event.DEFECT: Message("438d0fcef6c542c9acfd2c4a4f26d83a", P.ERROR, "A defect in the agent"),
    Event.PROGRESS: Message("180c7a07191d419cbc6c6c1dde022df3", P.INFO, "A change goes on"),
}

# The fields that an entry of the catalogue shows. The journal prints the name of one that a record lacks to the letter.
SHOWN: dict[Event, tuple[str, ...]] = {
    Event.CHANGE_PLANNED: ("change",),
    Event.CHANGE_COMMITTED: ("change", "generation"),
    Event.CHANGE_REJECTED: ("change", "failure_code"),
    Event.CHANGE_ROLLED_BACK: ("change", "failure_code"),
    Event.CHANGE_WAITS: ("change", "phase"),
    Event.TROUBLE_CREDENTIAL: ("change", "failure_code"),
    Event.CONNECTED: ("generation",),
    Event.WORKER_DIED: ("change", "phase"),
    Event.PROGRESS: ("change", "phase"),
}
NOTHING = "none"  # what stands in a field that is shown and has no value

_OF_CODES: dict[str, Event] = {
    Phase.PLANNED: Event.CHANGE_PLANNED,
    Phase.COMMITTED: Event.CHANGE_COMMITTED,
    Phase.REJECTED: Event.CHANGE_REJECTED,
    Phase.ROLLED_BACK: Event.CHANGE_ROLLED_BACK,
    Phase.RETIRED: Event.RETIRED,
    "dropped": Event.RETIRE_DROPPED,
    "wait": Event.CHANGE_WAITS,
    "ladder": Event.LADDER,
    "by-hand": Event.REPLACED_BY_HAND,
}

_OF_KINDS: dict[str, Event] = {
    FailureClass.NETWORK: Event.TROUBLE_NETWORK,
    FailureClass.CLOCK: Event.TROUBLE_CLOCK,
    FailureClass.SERVER_TRUST: Event.TROUBLE_SERVER_TRUST,
    FailureClass.CREDENTIAL: Event.TROUBLE_CREDENTIAL,
    FailureClass.POLICY: Event.TROUBLE_POLICY,
    FailureClass.THROTTLED: Event.TROUBLE_THROTTLED,
    FailureClass.STORE: Event.TROUBLE_STORE,
    FailureClass.PROTOCOL: Event.TROUBLE_PROTOCOL,
    FailureClass.DEPENDANT: Event.TROUBLE_DEPENDANT,
}


def of_progress(code: str, kind: str | None) -> Event:
    """Return the event that stands for what the engine reports.

    Args:
        code: What `agent.core.change.progress.Progress.code` says.
        kind: The class of the failure behind it; None when there is none, or it is not known.

    Returns:
        PROGRESS for whatever has no event of its own.
    """
    if code == "trouble":
        return _OF_KINDS.get(kind or "", Event.PROGRESS)
    return _OF_CODES.get(code, Event.PROGRESS)


def one_line(text: str, limit: int) -> str:
    """Return at most `limit` characters of `text`, printable, encodable and without line breaks."""
    return printable(text[:limit].encode(errors="replace").decode(), limit)
