"""The certificate vending machine: a client without a certificate asks over HTTPS, with serial number and token.

``POST`` of a JSON object of three texts, ``serialNumber``, ``registrationToken`` and ``certificateSigningRequest`` in
PEM, is answered by 200 with ``certificateId``, ``certificatePem`` and ``thingName``; or by ``code`` and ``message``,
with 400 for what is no request, 403 for every refusal and 429 for an address that asks too often. With 5xx it could not
be found out.

Source of the event and the answer: "Working with AWS Lambda proxy integrations for HTTP APIs", payload format 2.0,
Amazon API Gateway developer guide.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.backend.decide import vending
from agent.backend.decide.admission import has_token
from agent.backend.decide.vending import CountWindow, Purchase
from agent.backend.decide.verdict import Decision, is_name
from agent.backend.errors import ChangedError
from agent.backend.handlers.account import carry_out, tell
from agent.backend.handlers.hook import known_of
from agent.backend.names import Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.backend.decide.admission import KnownSerial
    from agent.backend.handlers.account import Account
    from agent.backend.values import Certificate, Device

LONGEST_BODY = 16_384  # characters; a request for an RSA key of 4096 bits has some 1,700
_LONGEST_TEXT = 8_192
_PEM = re.compile(
    r"\s*-----BEGIN CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE REQUEST-----\s*",
    re.ASCII,
)
_FIELDS = ("serialNumber", "registrationToken", "certificateSigningRequest")


def vend(event: Mapping[str, object], account: Account) -> Mapping[str, object]:
    """Answer a client of the HTTP API.

    Args:
        event: What API Gateway sends.
        account: The account.

    Raises:
        BackendError: It could not be found out. API Gateway answers with 500, and the client asks again.
    """
    address = vending.origin(_source(event))
    asked = _read(event, address)
    verdict = vending.unheard(_counted(vending.requests_of(address, account.now()), 1, account))
    if verdict is None:
        verdict = asked if isinstance(asked, Decision) else _vended(asked, account)
    serial = asked.serial if isinstance(asked, Purchase) else ""
    tell(account, verdict, serial=serial, address=address, certificateId=verdict.say.get("certificateId", ""))
    return {
        "statusCode": verdict.say.get("code", 200),
        "headers": {"content-type": "application/json", "cache-control": "no-store"},
        "body": json.dumps(verdict.say),
    }


def _source(event: Mapping[str, object]) -> str:
    """Return the address that API Gateway saw; a header may say anything."""
    found: object = event
    for name in ("requestContext", "http", "sourceIp"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def _read(event: Mapping[str, object], address: str) -> Purchase | Decision:
    """Return what is asked for, or why that cannot be read."""
    fields = _fields(event)
    if fields is None:
        return vending.unreadable(f"The body must be a JSON object of the texts {', '.join(_FIELDS)}.")
    serial, token, csr = fields
    if not is_name(serial):
        return vending.unreadable("serialNumber must be 1 to 128 letters, digits, or : _ -.")
    digest = _digest(csr)
    if not digest:
        return vending.unreadable("certificateSigningRequest must be one request in PEM.")
    return Purchase(serial=serial, token=token, csr=csr, digest=digest, address=address)


def _fields(event: Mapping[str, object]) -> tuple[str, str, str] | None:
    text = event.get("body")
    if not isinstance(text, str) or len(text) > LONGEST_BODY:
        return None
    try:
        raw = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") is True else text.encode()
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    found = [body.get(name) for name in _FIELDS] if isinstance(body, dict) else []
    texts = [value for value in found if isinstance(value, str) and len(value) <= _LONGEST_TEXT]
    return (texts[0], texts[1], texts[2]) if len(texts) == len(_FIELDS) else None


def _digest(csr: str) -> str:
    """Return the SHA-256 of a request, whatever its line breaks; empty for what is no request."""
    found = _PEM.fullmatch(csr)
    try:
        return hashlib.sha256(base64.b64decode("".join(found[1].split()), validate=True)).hexdigest() if found else ""
    except ValueError:
        return ""


def _counted(window: CountWindow, times: int, account: Account) -> int:
    return account.store.tally(window.name, window.end, times)


def _vended(asked: Purchase, account: Account) -> Decision:
    """Sell what the request has bought, or what is made for it: once, even where it is decided again."""
    made: list[Certificate] = []
    return carry_out(account, lambda: _decide(asked, account, made))


def _decide(asked: Purchase, account: Account, made: list[Certificate]) -> Decision:
    now, settings = account.now(), account.settings
    known = known_of(asked.enrolment(), account)
    wrong = not has_token(asked.enrolment(), known.device)
    closed = vending.closed(asked, _counted(vending.failures_of(asked, now), int(wrong), account))
    if closed is not None:
        return closed
    certificate = _bought(asked, known, account)
    if certificate is None:
        quoted = vending.quote(asked, known, now, re_enrols=settings.re_enrols)
        if not quoted.allowed or known.device is None:
            return quoted
        certificate = _made(asked, known.device, account, made)
        if certificate is None:
            return vending.unreadable(
                "AWS IoT does not take this certificateSigningRequest.", Metric.ENROLMENTS_REFUSED
            )
        known = _with_its_row(known, certificate, account)
        certificate = _as_it_is(certificate, known, account)
    return vending.sell(asked, known, certificate, now, policies=settings.own_policies, re_enrols=settings.re_enrols)


def _bought(asked: Purchase, known: KnownSerial, account: Account) -> Certificate | None:
    record = vending.bought(asked, known)
    return account.registry.certificate(record.certificate_id) if record is not None else None


def _made(asked: Purchase, device: Device, account: Account, made: list[Certificate]) -> Certificate | None:
    """Return the certificate that is made for a request, once; it is set aside before anything else is done with it."""
    if not made:
        certificate = _signed(asked, account)
        if certificate is None:
            return None
        made.append(certificate)  # also where another function has the same one of the signer, and has noted it
        account.store.save_record(vending.set_aside(asked, device.thing, certificate.certificate_id, account.now()))
    return made[0]


def _signed(asked: Purchase, account: Account) -> Certificate | None:
    """Return a certificate of the account's own signer where AWS IoT asks that one, too; else one of AWS's.

    The API that makes one of AWS's does not ask the certificate provider; its MQTT twin alone does.
    """
    if account.signer is None or not account.store.signer().on:
        return account.registry.make_certificate(asked.csr, account.now())
    pem = account.signer.sign(asked.csr, f"serial {asked.serial}")
    return _taken_in(pem, account) if pem is not None else None


def _taken_in(pem: str, account: Account) -> Certificate:
    """Return a certificate as it is registered; within a minute, the same request is signed as the same one."""
    try:
        return account.registry.take_in(pem, account.now())
    except ChangedError:
        known = account.registry.certificate(_id_of(pem))
        if known is None:
            raise
        return known


def _id_of(pem: str) -> str:
    """Return the id of a certificate in AWS IoT."""
    return hashlib.sha256(base64.b64decode("".join(pem.split("-----")[2].split()))).hexdigest()


def _as_it_is(certificate: Certificate, known: KnownSerial, account: Account) -> Certificate:
    """Return what was made, which a function with the same request may have sold meanwhile."""
    row = known.records.get(certificate.certificate_id)
    sold = row is not None and row.delete_after is None
    return (account.registry.certificate(certificate.certificate_id) if sold else None) or certificate


def _with_its_row(known: KnownSerial, certificate: Certificate, account: Account) -> KnownSerial:
    record = account.store.record(certificate.certificate_id)
    return known if record is None else replace(known, records={**known.records, record.certificate_id: record})
