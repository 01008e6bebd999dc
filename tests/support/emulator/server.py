"""An AWS on this machine: ministack, and what the gateway's side of AWS IoT Core lacks in it. `server.py DECISIONS`.

It runs in the environment of requirements/cloud.txt, in a network namespace of its own, since ministack listens on
every address. What is put in here is ours, not the emulator's, so a test that passes by it says nothing about AWS:

* CreateCertificateFromCsr over MQTT; ministack has CreateKeysAndCertificate alone.
* Exclusive attachment: `ThingPrincipalType` of a template's certificate is read, and
  `${iot:Connection.Thing.ThingName}` resolves for any client id of a certificate that is attached so. Source:
  "Exclusive thing", AWS IoT developer guide.
* AttachThingPrincipal takes how it attaches; ListPrincipalThingsV2, which would say it, is not there.
* The credentials provider, which gives a certificate the credentials of a role alias if it is ACTIVE and one of its
  policies allows `iot:AssumeRoleWithCertificate`: GET /role-aliases/NAME/credentials on `CREDENTIALS_PORT`. The alias
  need not be there, and the credentials are good for nothing.
* What ministack does not have is refused as what is not offered, and not as a request that is wrong.
* AttachPolicy and DetachPolicy are authorised on the certificate that they name, as AWS does; ministack takes "*".
* A function's process is forked from one that has read boto3: see `functions.py` beside this. What runs in it is the
  emulator's script and the function's own code, as in a process that the emulator starts itself.
* A template is parsed by libyaml: in Python alone that is 0.2 s of a processor for each change of the stack.
* A template's hook may take a minute to begin where a call gets six seconds: a busy machine starts Python more slowly.
* Each decision about a role is written to the file DECISIONS, a line of JSON each, so that a test can compare what is
  granted with what is used.

The names are private ones of ministack 1.5.33, which is why requirements/cloud.in names that version.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ministack.core.iam_actions as actions
import ministack.core.iam_evaluator as evaluator
import ministack.core.lambda_runtime as functions
import ministack.services.cloudformation.engine as templates
import yaml
from ministack.app import main
from ministack.services import iot

_FROM_CSR = "$aws/certificates/create-from-csr/json"
_EXCLUSIVE: set[str] = set()  # ids of certificates
_THING_NAME, _IS_ATTACHED = "iot:connection.thing.thingname", "iot:connection.thing.isattached"


def _add_requests_by_csr() -> None:
    topic_of, reply_to = iot._parse_fleet_provisioning_topic, iot._fleet_provisioning_reply

    def parse(topic: str) -> Any:
        return ("csr", None) if topic == _FROM_CSR else topic_of(topic)

    async def reply(account: str, region: str, operation: str, template: str, payload: bytes, connection: Any) -> Any:
        if operation != "csr":
            return await reply_to(account, region, operation, template, payload, connection)
        try:
            certificate, key = iot._ensure_ca()
            request = json.loads(payload)["certificateSigningRequest"]
            pem = await asyncio.to_thread(iot.sign_certificate_request, certificate, key, request)
        except (ValueError, KeyError, RuntimeError) as error:
            return iot._fleet_rejected("InvalidCsr", str(error))
        return "accepted", _pending(account, region, pem)

    iot._parse_fleet_provisioning_topic, iot._fleet_provisioning_reply = parse, reply


def _pending(account: str, region: str, pem: str) -> dict[str, str]:
    """Put a certificate into the registry, as CreateKeysAndCertificate does, and return the answer."""
    certificate_id, token = iot.get_certificate_id(pem), secrets.token_urlsafe(48)
    with iot.request_scope(account, region):
        iot._certificates[certificate_id] = iot._certificate_record(certificate_id, pem, "PENDING_ACTIVATION")
        iot._ownership_tokens[token] = {"certificateId": certificate_id, "expiration": time.time() + 3600}
    return {"certificateId": certificate_id, "certificatePem": pem, "certificateOwnershipToken": token}


def _add_exclusive_attachment() -> None:
    plan_of, context_of = iot._provisioning_plan, iot._mqtt_policy_context

    def plan(template: Any, parameters: Any, certificate_id: str) -> Any:
        body = iot._provisioning_template_body(template)
        resources = (json.loads(body) if isinstance(body, str) else body)["Resources"].values()
        found = [item["Properties"] for item in resources if item["Type"] == "AWS::IoT::Certificate"]
        if any(item.get("ThingPrincipalType") == "EXCLUSIVE_THING" for item in found):
            _EXCLUSIVE.add(certificate_id)
        return plan_of(template, parameters, certificate_id)

    def context(account: str, region: str, certificate_id: str, client_id: str) -> Any:
        known = context_of(account, region, certificate_id, client_id)
        with iot.request_scope(account, region):
            things = (iot._certificates.get(certificate_id) or {}).get("attachedThings", [])
        if certificate_id in _EXCLUSIVE and len(things) == 1:
            known |= {_THING_NAME: things[0].rsplit("/", 1)[-1], _IS_ATTACHED: "true"}
        return known

    iot._provisioning_plan, iot._mqtt_policy_context = plan, context


def _take_how_it_attaches() -> None:
    handle = iot._handle_thing_principals

    def principals(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        answer = handle(method, path, headers, body, query)
        certificate_id = (headers.get("x-amzn-principal") or "").rsplit("/", 1)[-1]
        how = query.get("thingPrincipalType")
        if method == "PUT" and (how[0] if isinstance(how, list) else how) == "EXCLUSIVE_THING":
            _EXCLUSIVE.add(certificate_id)
        elif method in {"PUT", "DELETE"}:
            _EXCLUSIVE.discard(certificate_id)
        return answer

    iot._handle_thing_principals = principals


class _Credentials(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        account, region = os.environ["MINISTACK_ACCOUNT_ID"], os.environ["MINISTACK_REGION"]
        der, alias = self.connection.getpeercert(binary_form=True), self.path.split("/")[2]
        caller = hashlib.sha256(der or b"").hexdigest()
        with iot.request_scope(account, region):
            active = (iot._certificates.get(caller) or {}).get("status") == "ACTIVE"
        asked = "iot:AssumeRoleWithCertificate", f"rolealias/{alias}"
        context = iot._mqtt_policy_context(account, region, caller, "")
        allowed = active and iot._mqtt_policy_allows(account, region, caller, context, *asked)
        body = json.dumps(
            {"credentials": {"accessKeyId": "ASIA"}} if allowed else {"message": "Access Denied"}
        ).encode()
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Provider(ThreadingHTTPServer):
    def get_request(self) -> Any:
        connection, address = super().get_request()
        return iot._mtls_build_ssl_context().wrap_socket(connection, server_side=True), address


def _add_role_aliases() -> None:
    provider = _Provider(("127.0.0.1", int(os.environ["CREDENTIALS_PORT"])), _Credentials)
    threading.Thread(target=provider.serve_forever, daemon=True).start()


def _say_what_is_not_there() -> None:
    route = iot._route_request

    async def answered(*words: Any, **options: Any) -> Any:
        answer = await route(*words, **options)
        if answer[0] == 400 and b"Unsupported IoT path" in answer[2]:
            return iot.error_response_json("UnknownOperationException", "Not in this emulator.", 501)
        return answer

    iot._route_request = answered


def _authorise_policies_on_their_target() -> None:
    resource_of = actions.extract_resource_arn

    def resource(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> str:
        if service == "iot" and path.startswith("/target-policies/"):
            return str(json.loads(body)["target"])
        return str(resource_of(service, method, path, headers, body, *rest))

    actions.extract_resource_arn = resource


def _note_decisions(decisions: Path) -> None:
    decide = evaluator.evaluate

    def evaluate(context: Any, *policies: Any) -> Any:
        result = decide(context, *policies)
        if ":assumed-role/" in context.principal_arn:
            role = context.principal_arn.split("/")[1]
            with decisions.open("a") as file:
                file.write(json.dumps([role, context.action, context.resource_arn, result.decision]) + "\n")
        return result

    evaluator.evaluate = evaluate


class _Forked(subprocess.Popen[str]):
    """A function's process, which is a child of this one's as any; only how it begins differs."""

    forker: socket.socket
    _asking = threading.Lock()

    def _execute_child(self, *given: Any) -> None:
        argv, cwd, env, pipes = given[0], given[5], given[6], given[10:16]
        order = json.dumps({"script": argv[1], "cwd": cwd, "env": env}).encode()
        with self._asking:
            socket.send_fds(self.forker, [order], [pipes[0], pipes[3], pipes[5]])  # its ends
            self.pid = int(self.forker.recv(100))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined] # as each way of Popen's to begin one does


def _fork_functions() -> None:
    _Forked.forker, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    forker = [sys.executable, str(Path(__file__).with_name("functions.py")), str(theirs.fileno())]
    with theirs:
        own = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}  # which no function of it has
        subprocess.Popen(forker, pass_fds=[theirs.fileno()], env=own)
    functions.subprocess = SimpleNamespace(**vars(subprocess) | {"Popen": _Forked})


def _parse_quickly() -> None:
    known = {"yaml_constructors": templates.CfnLoader.yaml_constructors}
    templates.CfnLoader = type("CfnLoader", (yaml.CSafeLoader,), known)


if __name__ == "__main__":
    _parse_quickly()
    _fork_functions()
    _add_requests_by_csr()
    _add_exclusive_attachment()
    _take_how_it_attaches()
    _add_role_aliases()
    _say_what_is_not_there()
    _authorise_policies_on_their_target()
    iot._PROVISIONING_HOOK_SECONDS = 60
    _note_decisions(Path(sys.argv.pop(1)))
    sys.exit(main())
