"""Runs the functions of the emulated AWS Lambda, each in a process that has read the AWS SDK before: `functions.py FD`.

A function's process costs half a second of a processor before it does anything, nearly all of it for reading boto3 and
what it knows of each service, and a story starts some twenty. So one process reads that once and forks for each. The
fork is the emulator's child, as one that the emulator started would be (CLONE_PARENT); it has that one's arguments,
environment, folder and streams, and reads the function's own code anew.

It runs in an environment of its own, that of requirements/cloud.txt, and takes of the tests only what needs no library.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import socket
import sys
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import botocore.session

from support.suite.siblings import fork_beside

_MOST = 1 << 18  # bytes of a message
_SERVICES = ("dynamodb", "iot", "iot-data")  # of agent.backend.aws.clients


def _read_ahead() -> None:
    """Read what a function's clients are made of: each session has a reader of its own, which begins anew."""
    botocore.session.create_loader = cache(botocore.session.create_loader)
    session = boto3.session.Session(region_name="eu-west-1")
    for service in _SERVICES:
        session.client(service)
    gc.collect()
    gc.freeze()


def _run(order: dict[str, Any], streams: list[int]) -> None:
    for given, place in zip(streams, (0, 1, 2), strict=True):
        os.dup2(given, place)
    os.closerange(3, 1 << 16)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    script = order["script"]
    sys.argv, sys.path[0] = [script], str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


def main() -> None:
    """Fork for each order, and end with the emulator."""
    _read_ahead()
    orders = socket.socket(fileno=int(sys.argv[1]))
    while True:
        message, streams, _, _ = socket.recv_fds(orders, _MOST, 3)
        if not message:
            return
        pid = fork_beside()
        if pid == 0:
            _run(json.loads(message), streams)
            return
        orders.send(str(pid).encode())
        for stream in streams:
            os.close(stream)


if __name__ == "__main__":
    main()
