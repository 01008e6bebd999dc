"""Jobs, shadows and retirement at the local IoT Core, over the wire."""

from __future__ import annotations

import json
import queue
import threading
from itertools import product
from typing import TYPE_CHECKING, Any

import mqtt5
import pytest
from awscrt.mqtt_request_response import ClientOptions as RequestOptions
from awsiot import ServiceStreamOptions, V2ServiceException, iotjobs, iotshadow

from agent.sandbox.account.policies import Policy
from agent.sandbox.cloud import Cloud, Status
from agent.sandbox.network.connection import MAX_FILTERS, MAX_SUBSCRIPTIONS
from agent.sandbox.replies.faults import TOKEN_MARK, Effect, Fault, Operation
from agent.sandbox.services.jobs import JobStatus
from support.running.front import (
    AGENT,
    NOTIFY,
    OWN_TOPIC,
    PATIENCE,
    ROTATE,
    SHADOW,
    SHORT,
    THING,
    PubAck,
    Sdk,
    SubAck,
    Wire,
    ask,
    device,
    listener,
    publish,
    subscribe,
    wait_for_live,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.sandbox.service import LocalCloud

RETIRE = f"iot-cert-agent/{THING}/retire"


# -- publish and subscribe ---------------------------------------------------------------------------------------------


def hear(wire: Wire) -> tuple[str, bytes]:
    """Return topic and payload of the next packet, which must be a message."""
    packet = wire.receive()
    assert isinstance(packet, mqtt5.PublishPacket)
    return packet.topic, bytes(packet.payload)


# -- jobs, shadows and retirement --------------------------------------------------------------------------------------


ITS_OWN = [
    [NOTIFY, f"{NOTIFY}-next", f"$aws/things/{THING}/jobs/get/accepted", f"$aws/things/{THING}/jobs/get/rejected"],
    [
        f"$aws/things/{THING}/jobs/get/+",
        f"$aws/things/{THING}/jobs/+/get/+",
        f"$aws/things/{THING}/jobs/+/update/+",
    ],
    [f"{SHADOW}/{topic}" for topic in ("get/accepted", "get/rejected", "update/delta", "update/+", "delete/+")],
    [f"{RETIRE}/accepted", f"{RETIRE}/rejected"],
]


def test_a_gateway_may_listen_to_its_own_and_not_to_its_neighbour(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """All that a client of jobs, shadow and retirement subscribes to is granted; for another thing it is not."""
    identity = device(cloud)
    for filters, client_id in product(ITS_OWN, (THING, AGENT)):
        client = listener(wire(identity), client_id, *filters)
        client.send(subscribe(*(pattern.replace(THING, "gw-2") for pattern in filters)))
        answer = client.receive()
        assert isinstance(answer, mqtt5.SubAckPacket)
        assert answer.reason_codes == [SubAck.NOT_AUTHORIZED] * len(filters)


def test_a_subscribe_holds_eight_filters_and_a_connection_fifty(wire: Callable[..., Wire]) -> None:
    """One too many in a packet fails it altogether; the broker's topics count as the cloud's do."""
    client = listener(wire(), THING, *(f"gateways/{THING}/{n}" for n in range(MAX_FILTERS)))
    client.send(subscribe(*(f"gateways/{THING}/x{n}" for n in range(MAX_FILTERS + 1))))
    answer = client.receive()
    assert isinstance(answer, mqtt5.SubAckPacket)
    assert answer.reason_codes == [SubAck.QUOTA_EXCEEDED] * (MAX_FILTERS + 1)
    for n in range(MAX_SUBSCRIPTIONS - MAX_FILTERS):
        client.send(subscribe(f"$aws/things/{THING}/jobs/{n}"))
        client.receive()
    client.send(subscribe(f"gateways/{THING}/one-more"))
    last = client.receive()
    assert isinstance(last, mqtt5.SubAckPacket)
    assert last.reason_codes == [SubAck.QUOTA_EXCEEDED]


def test_the_sdk_carries_out_a_job(local: LocalCloud, cloud: Cloud) -> None:
    """It is told of the job, lists it, reads it, starts and ends it; a request too much is refused by name."""
    with Sdk(local, device(cloud).pair, AGENT) as connection:
        options = RequestOptions(max_request_response_subscriptions=8, max_streaming_subscriptions=2)
        jobs = iotjobs.IotJobsClientV2(connection.wait_connected().client, options)
        told: queue.Queue[Any] = queue.Queue()
        subscribed = threading.Event()
        stream = jobs.create_job_executions_changed_stream(
            iotjobs.JobExecutionsChangedSubscriptionRequest(thing_name=THING),
            ServiceStreamOptions(
                incoming_event_listener=told.put, subscription_status_listener=lambda _: subscribed.set()
            ),
        )
        stream.open()
        assert subscribed.wait(PATIENCE)
        job_id = cloud.create_job(THING, ROTATE)
        assert [job.job_id for job in told.get(timeout=PATIENCE).jobs["QUEUED"]] == [job_id]
        pending = iotjobs.GetPendingJobExecutionsRequest(thing_name=THING)
        (job,) = jobs.get_pending_job_executions(pending).result(PATIENCE).queued_jobs
        assert (job.job_id, job.execution_number, job.version_number) == (job_id, 1, 1)
        describe = iotjobs.DescribeJobExecutionRequest(thing_name=THING, job_id=job_id)
        execution = jobs.describe_job_execution(describe).result(PATIENCE).execution
        assert (execution.job_document, execution.status) == (ROTATE, iotjobs.JobStatus.QUEUED)
        for status in (iotjobs.JobStatus.IN_PROGRESS, iotjobs.JobStatus.SUCCEEDED):
            update = iotjobs.UpdateJobExecutionRequest(
                thing_name=THING, job_id=job_id, status=status, status_details={"phase": status}
            )
            jobs.update_job_execution(update).result(PATIENCE)
        assert told.get(timeout=PATIENCE).jobs == {}
        with pytest.raises(V2ServiceException) as caught:
            jobs.update_job_execution(update).result(PATIENCE)
    assert caught.value.modeled_error.code == iotjobs.RejectedErrorCode.INVALID_STATE_TRANSITION
    assert caught.value.modeled_error.execution_state.status == iotjobs.JobStatus.SUCCEEDED
    assert cloud.job(THING, job_id).status_details == {"phase": "SUCCEEDED"}


def test_the_sdk_reports_to_a_shadow_and_reads_it(local: LocalCloud, cloud: Cloud) -> None:
    """What an application desires comes back as the delta."""
    cloud.desire(THING, "certificate", {"renew": 1})
    with Sdk(local, device(cloud).pair, AGENT) as connection:
        options = RequestOptions(max_request_response_subscriptions=8, max_streaming_subscriptions=0)
        shadow = iotshadow.IotShadowClientV2(connection.wait_connected().client, options)
        update = iotshadow.UpdateNamedShadowRequest(
            thing_name=THING,
            shadow_name="certificate",
            state=iotshadow.ShadowState(reported={"health": 0}),
        )
        assert shadow.update_named_shadow(update).result(PATIENCE).version == 2
        get = iotshadow.GetNamedShadowRequest(thing_name=THING, shadow_name="certificate")
        state = shadow.get_named_shadow(get).result(PATIENCE).state
    assert (state.desired, state.reported, state.delta) == ({"renew": 1}, {"health": 0}, {"renew": 1})


def test_a_notification_reaches_every_connection_that_subscribed_and_no_other(
    cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Two clients of the thing hear of its job; one without the subscription and a neighbour hear what is theirs."""
    identity = device(cloud)
    application = listener(wire(identity), THING, NOTIFY)
    agent = listener(wire(identity), AGENT, f"$aws/things/{THING}/jobs/#")
    neighbour = listener(wire(device(cloud, thing="gw-2")), "gw-2", "$aws/things/gw-2/jobs/#")
    cloud.create_job(THING, ROTATE)
    cloud.create_job("gw-2", ROTATE)
    assert hear(application)[0] == NOTIFY
    assert [hear(agent)[0], hear(agent)[0]] == [NOTIFY, f"{NOTIFY}-next"]
    assert hear(neighbour)[0] == "$aws/things/gw-2/jobs/notify"
    cloud.push(AGENT, NOTIFY, b"end")
    assert hear(agent) == (NOTIFY, b"end")
    cloud.push(THING, NOTIFY, b"end")
    assert hear(application) == (NOTIFY, b"end")


def test_a_delta_reaches_a_connection_until_it_unsubscribes(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """And one whose certificate is no longer active hears nothing, even before it is cut."""
    identity = device(cloud)
    client = listener(wire(identity), AGENT, f"{SHADOW}/update/delta", NOTIFY)
    cloud.desire(THING, "certificate", {"renew": 1})
    topic, payload = hear(client)
    assert (topic, json.loads(payload)["state"]) == (f"{SHADOW}/update/delta", {"renew": 1})
    client.send(mqtt5.UnsubscribePacket(8, [f"{SHADOW}/update/delta"]))
    assert isinstance(client.receive(), mqtt5.UnsubAckPacket)
    cloud.desire(THING, "certificate", {"renew": 2})
    cloud.push(AGENT, NOTIFY, b"1")
    assert hear(client) == (NOTIFY, b"1")
    cloud.set_status(identity.certificate_id, Status.INACTIVE)
    cloud.push(AGENT, NOTIFY, b"2")
    client.send(mqtt5.PingReqPacket())
    assert isinstance(client.receive(), mqtt5.PingRespPacket)


def test_any_bytes_may_be_pushed_to_one_client(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """On any topic that it listens to, the broker's included, marked as retained or not; others hear nothing."""
    identity = device(cloud)
    agent = listener(wire(identity), AGENT, NOTIFY, OWN_TOPIC)
    application = listener(wire(identity), THING, NOTIFY, OWN_TOPIC)
    cloud.push(AGENT, NOTIFY, b"\xff{\x00", retain=True)
    cloud.push(AGENT, OWN_TOPIC, b"")
    cloud.push(AGENT, "gateways/gw-1/other", b"unheard")
    cloud.push(THING, OWN_TOPIC, b"to the thing")
    first = agent.receive()
    assert isinstance(first, mqtt5.PublishPacket)
    assert (first.topic, first.payload, first.retain) == (NOTIFY, b"\xff{\x00", True)
    assert [hear(agent), hear(agent)] == [(OWN_TOPIC, b""), (OWN_TOPIC, b"to the thing")]
    assert hear(application) == (OWN_TOPIC, b"to the thing")


def test_no_wildcard_covers_the_reserved_topics(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """As MQTT has it: a client that subscribes to everything does not hear of jobs."""
    everything = Policy(connect=("*",), publish=("*",), subscribe=("*",))
    client = listener(wire(device(cloud, policy=everything)), THING, "#", "+/things/#")
    cloud.create_job(THING, ROTATE)
    cloud.push(THING, OWN_TOPIC, b"plain")
    assert hear(client) == (OWN_TOPIC, b"plain")


def test_a_client_that_does_not_read_what_is_pushed_is_dropped(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """What waits for it is bounded."""
    listener(wire(), AGENT, NOTIFY)
    for _ in range(400):
        cloud.push(AGENT, NOTIFY, b"x" * 100_000)
    wait_for_live(local, 0)
    assert [session.end for session in local.front.log.sessions] == ["hung-up"]


def test_a_retired_certificate_is_cut_off_by_its_successor(
    local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """The caller gets the answer and stays; the old connection ends and cannot come back."""
    old, new = device(cloud), device(cloud)
    application = wire(old)
    application.connect(THING)
    agent = listener(wire(new), AGENT, f"{RETIRE}/accepted", f"{RETIRE}/rejected")
    assert ask(agent, RETIRE, {"certificateId": old.certificate_id, "clientToken": "t"}) == [
        (f"{RETIRE}/accepted", {"certificateId": old.certificate_id, "clientToken": "t"})
    ]
    assert application.rest() == []
    wait_for_live(local, 1)
    assert [live.client_id for live in local.front.live] == [AGENT]
    assert wire(old).rest() == []
    assert ask(agent, RETIRE, {"certificateId": new.certificate_id})[0][1]["code"] == 409
    ends = {session.client_id: session.end for session in local.front.log.sessions}
    assert ends == {THING: "cut", AGENT: ""}


def test_a_retirement_may_be_forbidden_by_the_policy(cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """A neighbour's request gets 0x87 like any other topic."""
    victim = device(cloud)
    neighbour = wire(device(cloud, thing="gw-2"))
    neighbour.connect("gw-2")
    neighbour.send(publish(RETIRE, json.dumps({"certificateId": victim.certificate_id}).encode()))
    answer = neighbour.receive()
    assert isinstance(answer, mqtt5.PubAckPacket)
    assert answer.reason_code == PubAck.NOT_AUTHORIZED
    assert cloud.registry[victim.certificate_id].status is Status.ACTIVE


@pytest.mark.parametrize(
    ("operation", "topic"),
    [
        (Operation.JOBS, f"$aws/things/{THING}/jobs/get"),
        (Operation.SHADOW, f"{SHADOW}/update"),
        (Operation.ASK, f"{SHADOW}/get"),
        (Operation.RETIRE, RETIRE),
    ],
)
def test_a_fault_strikes_its_operation_on_the_wire(
    operation: Operation, topic: str, cloud: Cloud, wire: Callable[..., Wire]
) -> None:
    """Refused with the request's token, answered with any bytes, garbled, not at all, and by a hang-up."""
    client = listener(wire(), AGENT, f"{topic}/accepted", f"{topic}/rejected")
    hostile = b'{"clientToken": "' + TOKEN_MARK + b'", "x": 1}'
    for effect in (Effect.THROTTLE, Effect.HOSTILE, Effect.IGNORE):
        cloud.faults.add(Fault(operation=operation, effect=effect, payload=hostile))
    ((where, body),) = ask(client, topic, {"clientToken": "a"})
    assert (where, body["clientToken"]) == (f"{topic}/rejected", "a")
    assert body["code"] in {429, "RequestThrottled"}
    assert ask(client, topic, {"clientToken": "b"}) == [(f"{topic}/accepted", {"clientToken": "b", "x": 1})]
    assert ask(client, topic, {"clientToken": "c"}) == []
    cloud.faults.add(Fault(operation=operation, effect=Effect.HANG_UP))
    client.send(publish(topic))
    assert client.rest() == []
    assert cloud.count(operation) == 4


def test_one_may_wait_for_what_a_client_asks(local: LocalCloud, cloud: Cloud, wire: Callable[..., Wire]) -> None:
    """A condition is looked at after each answer too."""
    cloud.create_job(THING, ROTATE, "a")
    client = wire()
    client.connect()
    looks = []

    def failed() -> bool:
        looks.append(cloud.job(THING, "a").status)
        if len(looks) == 1:
            client.send(publish(f"$aws/things/{THING}/jobs/a/update", b'{"status": "FAILED"}'))
        return looks[-1] is JobStatus.FAILED

    local.wait_until(failed)
    assert looks[0] is JobStatus.QUEUED
    with pytest.raises(TimeoutError):
        local.wait_until(lambda: cloud.job(THING, "a").status is JobStatus.SUCCEEDED, timeout=SHORT)


def test_the_cloud_outlives_its_front(local: LocalCloud, cloud: Cloud) -> None:
    """After a stop its owner may go on, and no client is told."""
    local.stop()
    assert cloud.create_job(THING, ROTATE) == "job-1"
    cloud.desire(THING, "certificate", {"renew": 1})
    cloud.push(THING, NOTIFY, b"")
    assert [job.job_id for job in cloud.jobs(THING)] == ["job-1"]
