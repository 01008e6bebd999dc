"""Malformed messages of a cloud: mutations of what a sound one says."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from agent.sandbox.replies.faults import TOKEN_MARK
from support.running.fleet import described, summary

if TYPE_CHECKING:
    from collections.abc import Iterator


_TOKEN = TOKEN_MARK.decode()
_FAR = {"opens_at": "2090-01-01T00:00:00Z", "closes_at": "2090-01-02T00:00:00+00:00"}
_ORDERS: tuple[object, ...] = (
    {"operation": "rotate-certificate", "reason": "a reason", "window": _FAR, "agent": "iot-cert-agent"},
    {"operation": "report", "reason": "a reason"},
    {"operation": "dance", "agent": "iot-cert-agent"},
    {"operation": "reboot", "steps": [1, {"a": [None, 2.5, "x"]}]},
    ["no", "object"],
)
_JUNK = (
    *("null", "true", "0", "-1", "1.5", "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1e-400"),
    *("9" * 10, "9" * 4000, "9" * 5000, "-" + "9" * 4300),
    *("[]", "{}", '""', "[null]", '{"": {}}', '"\\ud800"', '{"\\udfff": 1}', '"\\u0000\\u001b[31m\\u202e"'),
    *('"2027-01-01T00:00:00"', '"9999-12-31T23:59:59-23:59"', '"0001-01-01T00:00:00+23:59"', '"24:00"', '"soon"'),
    *('"iot-cert-agent"', '"rotate-certificate"', '"../../../etc"', '"%s%n"', '"' + "\N{GRINNING FACE}" * 300 + '"'),
)
_DEPTHS = (30, 200, 320, 330, 340, 400, 480, 500, 700, 900, 940, 960, 970, 980, 990, 995, 1000, 3000, 30_000)
_LONGEST = 200_000  # bytes; the agent's client takes packets of 256 KiB at most
_WHOLE = (b"", b"null", b"[]", b"{}", b'"text"', b"0", b"\x00\x01\x02", b"\xff" * 100, b"{" * 50_000, b"\xef\xbb\xbf{}")


class Malformed:
    """Mutations of what a cloud says, the same ones in every run: an endless iterator."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - the same mutants every time
        self._raw: dict[str, str] = {}

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self._next()

    def _next(self) -> bytes:
        if self._chance.random() < 0.03:
            return self._chance.choice(_WHOLE)
        self._raw.clear()
        message = self._sound()
        for _ in range(self._chance.choice((1, 1, 1, 2, 3))):
            self._mutate(message)
        data = json.dumps(message, ensure_ascii=self._chance.random() < 0.5).encode(errors="surrogatepass")
        for name, raw in self._raw.items():
            data = data.replace(json.dumps(name).encode(), raw.encode())
        return self._spoil(data[:_LONGEST])

    def _sound(self) -> dict[str, Any]:
        """Return a message that is as it should be."""
        summaries = [summary(f"job-{number}", 1, number) for number in range(1, self._chance.choice((2, 3, 6)))]
        execution = described("job-1", json.loads(json.dumps(self._chance.choice(_ORDERS))))
        reported = {"agent": "1", "generation": 3, "renew": dict(_FAR), "problem": "a sentence."}
        wish = {"renew": dict(_FAR), "other": [1, 2]}
        message: dict[str, Any] = self._chance.choice((
            {"inProgressJobs": summaries[:1], "queuedJobs": summaries, "timestamp": 1},
            execution,
            {"state": {"desired": wish, "reported": reported, "delta": {}}, "metadata": {}, "version": 3},
            {"state": wish, "metadata": {"renew": {"opens_at": {"timestamp": 1}}}, "version": 4, "timestamp": 1},
            {"previous": {"state": {}}, "current": {"state": {"desired": wish, "reported": reported}, "version": 4}},
            {"executionState": {"status": "IN_PROGRESS", "statusDetails": {"a": "b"}, "versionNumber": 2}},
            {"certificateId": "ab" * 32},
            {"code": "VersionMismatch", "message": "no", "executionState": {"status": "QUEUED", "versionNumber": 9}},
            {"code": 404, "message": "No shadow exists"},
        ))  # fmt: skip
        return {"clientToken": _TOKEN, **message}

    def _mutate(self, message: dict[str, Any]) -> None:
        places = list(_places(message))
        if not places:
            return
        holder, key = self._chance.choice(places)
        value = holder[key]
        match self._chance.randrange(12):
            case 0:
                del holder[key]
            case 1 if isinstance(value, dict) and value:
                name = self._chance.choice(list(value))
                holder[key] = self._put(f"{json.dumps(value)[:-1]}, {json.dumps(name)}: 1}}")
            case 2 if isinstance(holder, dict):
                holder[self._chance.choice(("", "\ud800", "x" * 3000, "renew", "state", "code"))] = holder.pop(key)
            case 3 if isinstance(value, list):
                holder[key] = value * self._chance.choice((30, 300))
            case 4:
                depth = self._chance.choice(_DEPTHS)
                opening, closing = self._chance.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
                holder[key] = self._put(opening * depth + "1" + closing * depth)
            case 5 if self._chance.random() < 0.1:
                holder[key] = "y" * self._chance.choice((70_000, 129_000, 140_000))
            case 6:
                holder[key] = self._sound()
            case _:
                holder[key] = self._put(self._chance.choice(_JUNK))

    def _put(self, raw: str) -> str:
        """Return a name that stands for a piece of text until the message is put together."""
        name = f"raw-{len(self._raw)}-"
        self._raw[name] = raw
        return name

    def _spoil(self, data: bytes) -> bytes:
        spoilt = bytearray(data)
        match self._chance.randrange(10):
            case 0:
                del spoilt[self._chance.randrange(len(spoilt)) :]
            case 1:
                for _ in range(self._chance.choice((1, 3, 20))):
                    spoilt[self._chance.randrange(len(spoilt))] = self._chance.randrange(256)
            case 2:
                at = self._chance.randrange(len(spoilt))
                spoilt[at:at] = self._chance.choice((b"\xed\xa0\x80", b"\xff\xfe", b"\x00", b"\xc0\xaf"))
            case _:
                pass
        return bytes(spoilt)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])
