"""What `make cloud` writes: the same bytes from the same tree, code that runs by itself, and a template that lints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from support.aws.cloudtools import tool
from support.aws.stack import BUILDER, ROOT, TEMPLATE, Stack, builder

if TYPE_CHECKING:
    from pathlib import Path

MAKEFILE = (ROOT / "Makefile").read_text()


def built(place: Path, *options: str) -> Path:
    """Write everything into a directory."""
    subprocess.run([sys.executable, BUILDER, place, *options], check=True, stdout=subprocess.DEVNULL)
    return place


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what was built once for these tests."""
    return built(tmp_path_factory.mktemp("dist"))


def code(place: Path) -> Path:
    """Return the archive of a build."""
    (found,) = place.glob("*.zip")
    return found


def test_the_same_tree_gives_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    """Built twice, file by file."""
    again = built(tmp_path / "again")
    assert [path.name for path in sorted(again.iterdir())] == [path.name for path in sorted(dist.iterdir())]
    for path in again.iterdir():
        assert path.read_bytes() == (dist / path.name).read_bytes(), path.name


def test_building_again_leaves_one_archive(tmp_path: Path) -> None:
    """The one of before has another name, and would be copied by mistake."""
    (tmp_path / "iot-cert-cloud-0123456789abcdef.zip").touch()
    assert code(built(tmp_path)).stat().st_size > 0


def test_other_code_has_another_name(dist: Path, tmp_path: Path) -> None:
    """CloudFormation looks at the key alone: code under the same name would never be deployed."""
    name = code(dist).name
    other = builder().pack(builder().needed()[:-1], tmp_path).name
    assert re.fullmatch(r"iot-cert-cloud-[0-9a-f]{16}\.zip", name)
    assert other != name
    assert f"    Default: {name}\n" in (dist / "template.yaml").read_text()


def test_the_archive_holds_the_backend_and_what_is_pure(dist: Path) -> None:
    """No file of another room, nothing of the machine that built it."""
    with zipfile.ZipFile(code(dist)) as archive:
        entries = archive.infolist()
    assert [entry.filename for entry in entries] == sorted(entry.filename for entry in entries)
    rooms = {"/".join(entry.filename.split("/")[:2]) for entry in entries}
    assert rooms <= {"agent/__init__.py", "agent/backend", "agent/core", "agent/errors.py"}
    assert {(entry.date_time, entry.external_attr >> 16, entry.compress_type) for entry in entries} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644, zipfile.ZIP_STORED)
    }


def test_the_code_runs_from_the_archive_alone(dist: Path) -> None:
    """With the standard library and the SDK, as Lambda has them: nothing of the project's folder is read."""
    script = f"""
import sys
sys.path.insert(0, {str(code(dist))!r})
from agent.backend import lambdas
ours = {{name for name in sys.modules if name.split(".")[0] == "agent"}}
places = {{sys.modules[name].__file__ for name in ours}}
assert all(place.startswith(sys.path[0]) for place in places), places
tops = {{name.split(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)
print(" ".join(sorted(tops)))
"""
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert not {"cryptography", "awsiot", "yaml", "tuf"} & set(run.stdout.split())


@pytest.mark.whole
def test_the_signers_code_runs_from_its_archive_alone(tmp_path: Path) -> None:
    """With the SDK beside it, as Lambda has it; the library is the one that was locked."""
    runtime = f"python3.{sys.version_info.minor}"
    archive = builder().pack_signer(runtime, tmp_path)
    assert builder().pack_signer(runtime, tmp_path / "..").read_bytes() == archive.read_bytes()
    with zipfile.ZipFile(archive) as found:
        found.extractall(tmp_path / "code")
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path / "code")!r})
from agent.backend import provider
import cryptography
ours = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in ("agent", "cryptography")]
assert all(place is None or place.startswith(sys.path[0]) for place in ours), ours
print(cryptography.__version__, "agent.backend.memory" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False)
    locked = re.findall(r"^cryptography==(\S+)", (ROOT / "requirements" / "signer.txt").read_text(), flags=re.MULTILINE)
    assert run.stdout == f"{locked[0]} False\n", run.stderr


def test_the_signers_lock_is_a_part_of_the_agents() -> None:
    """The same versions with the same hashes, and nothing that names an index."""
    pattern = r"^[a-z0-9-]+==.*(?:\n    --hash.*)+"
    lock, whole = ((ROOT / "requirements" / name).read_text() for name in ("signer.txt", "run.txt"))
    blocks = re.findall(pattern, lock, flags=re.MULTILINE)
    assert "\n".join(blocks) + "\n" == lock
    assert set(blocks) <= set(re.findall(pattern, whole, flags=re.MULTILINE))
    assert [block.partition("==")[0] for block in blocks] == ["cffi", "cryptography", "pycparser"]


def test_a_prefix_is_in_the_template_and_in_what_is_retained(tmp_path: Path) -> None:
    """So the files of one build belong together."""
    place = built(tmp_path, "--prefix", "depot-7")
    parsed = builder().parse((place / "template.yaml").read_text())
    assert parsed["Parameters"]["Prefix"]["Default"] == "depot-7"
    found = {item["LogicalResourceId"]: item for item in json.loads((place / "retained-resources.json").read_text())}
    assert found["Devices"]["ResourceIdentifier"] == {"TableName": "depot-7-devices"}
    assert found["ClaimPolicy"]["ResourceIdentifier"] == {"Id": "depot-7-claim"}


def test_what_is_retained_is_what_the_template_retains(dist: Path) -> None:
    """The same resources, word for word: an import that differs would bring a change that no operator asked for."""
    whole = builder().parse((dist / "template.yaml").read_text())
    part: dict[str, Any] = json.loads((dist / "retained.json").read_text())
    kept = {name for name, item in whole["Resources"].items() if item.get("DeletionPolicy") == "Retain"}
    assert set(part["Resources"]) == kept
    assert all(part["Resources"][name] == whole["Resources"][name] for name in kept)
    listed = json.loads((dist / "retained-resources.json").read_text())
    stack = Stack(template=whole)
    for item in listed:
        (identifier,) = item["ResourceIdentifier"].values()
        assert stack.resolve({"Ref": item["LogicalResourceId"]}) == identifier
    assert {item["LogicalResourceId"] for item in listed} == kept


# ---- the linter ----------------------------------------------------------------------------------------------------


def lint(*templates: Path) -> str:
    """Return what cfn-lint finds, in the regions of `make check`."""
    regions = re.findall(r"^REGIONS = (.*)$", MAKEFILE, flags=re.MULTILINE)[0].split()
    command = [tool("cfn-lint"), "--format", "parseable", "--regions", *regions, "--", *templates]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_make_check_lints_in_three_partitions() -> None:
    """China and GovCloud among four regions at least; the template itself is linted there."""
    regions = re.findall(r"^REGIONS = (.*)$", MAKEFILE, flags=re.MULTILINE)[0].split()
    assert len(regions) >= 4
    assert {region.split("-")[0] for region in regions} >= {"us", "eu", "cn"}
    assert any("-gov-" in region for region in regions)
    style = MAKEFILE.partition("\nstyle:")[2].partition("\n\n")[0]
    assert "$(LINT) --regions $(REGIONS) -- config/cloud/template.yaml" in style
    assert "\ncheck: types style\n" in MAKEFILE


@pytest.mark.whole
def test_what_is_built_lints(dist: Path) -> None:
    """The template with its defaults, and the one of what is retained; `make check` lints what they are built from."""
    assert lint(dist / "template.yaml", dist / "retained.json") == ""


@pytest.mark.whole
def test_the_linter_sees_what_is_planted(tmp_path: Path) -> None:
    """A value, an action and a reference that there are not; otherwise its silence would say nothing."""
    text, planted = TEMPLATE.read_text(), tmp_path / "template.yaml"
    for old, new in (
        ("BillingMode: PAY_PER_REQUEST\n", "BillingMode: PAY_PER_REQUESTS\n"),
        ("iot:UpdateCertificate", "iot:DeactivateCertificate"),
        ("!GetAtt SweepOften.Arn", "!GetAtt SweepDaily.Arn"),
    ):
        assert old in text
        text = text.replace(old, new, 1)
    planted.write_text(text)
    found = lint(planted)
    assert [rule for rule in ("E3030", "W3037", "E1010") if rule not in found] == []
