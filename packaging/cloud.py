"""Write what is deployed in an operator's AWS account: `cloud.py OUTDIR [--prefix NAME] [--signer]`.

``template.yaml``
    config/cloud/template.yaml, which knows the name of the code beside it, and the prefix. CloudFormation takes it from
    a bucket, as the code: it is longer than the 51,200 bytes that are taken without one.
``iot-cert-cloud-HASH.zip``
    The code of its functions: what `agent.backend.lambdas` imports of this project, and no more. The SDK is Lambda's
    own. The same sources give the same bytes, and other sources another name: a name is what CloudFormation compares.
``iot-cert-signer-HASH.zip``
    With ``--signer``, the code of the function that signs: what `agent.backend.provider` imports, and the packages of
    `requirements/signer.txt`, as their wheels for Lambda have them. pip fetches those and holds each to its hash.
``parameters.example.json``
    The parameters to think of, as `aws cloudformation deploy --parameter-overrides file://` takes them.
``retained.json``, ``retained-resources.json``
    What outlives the stack, as the template and the list of a change set of type IMPORT: it takes that in again, before
    the whole is deployed anew.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).parents[1]
TEMPLATE: Final = ROOT / "config" / "cloud" / "template.yaml"
ENTRY: Final = "agent.backend.lambdas"
SIGNER: Final = "agent.backend.provider"
LOCK: Final = ROOT / "requirements" / "signer.txt"
PREFIX: Final = "iot-cert"

# What CloudFormation calls a resource of each type that is retained (its schema's primaryIdentifier).
IDENTIFIERS: Final = {"AWS::DynamoDB::Table": ("TableName", "TableName"), "AWS::IoT::Policy": ("Id", "PolicyName")}


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's YAML: its short forms become the long ones."""


def _long_form(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if tag == "GetAtt":
            value = str(value).split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _long_form)


def parse(text: str) -> dict[str, Any]:
    """Return a template as CloudFormation's JSON would have it."""
    found: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - it is a safe loader
    return found


def needed(entry: str = ENTRY) -> list[Path]:
    """Return the project's files that a module needs, in their order; each is a path in the project."""
    found: set[Path] = set()
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        for path in _files(module):
            if path not in found:
                found.add(path)
                waiting += _imports((ROOT / path).read_text())
    return sorted(found)


def _files(module: str) -> list[Path]:
    """Return the files of a dotted name: those of its packages, and its own where it is a module."""
    parts = module.split(".")
    names = [Path(*parts[:end]) for end in range(1, len(parts) + 1)]
    tries = [path for name in names for path in (name / "__init__.py", name.with_suffix(".py"))]
    return [path for path in tries if (ROOT / path).is_file()]


def _imports(text: str) -> list[str]:
    """Return the dotted names of the project that a module imports when it is run."""
    names = []
    waiting: list[ast.AST] = [ast.parse(text)]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                waiting += node.orelse
            case ast.Import():
                names += [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                names += [f"{module}.{alias.name}" for alias in node.names]
            case _:
                waiting += ast.iter_child_nodes(node)
    return [name for name in names if name.split(".")[0] == "agent"]


def pack(files: list[Path], target: Path, *, name: str = "cloud", wheels: Iterable[Path] = ()) -> Path:
    """Write an archive into a directory, under a name with its hash, and return where.

    Nothing is compressed, because another zlib would give other bytes.
    """
    contents = {path.as_posix(): (ROOT / path).read_bytes() for path in files}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as found:
            contents |= {entry: found.read(entry) for entry in found.namelist() if not entry.endswith("/")}
    unnamed = target / "code.zip"
    with zipfile.ZipFile(unnamed, "w", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, content)
    digest = hashlib.sha256(unnamed.read_bytes()).hexdigest()
    return unnamed.rename(target / f"iot-cert-{name}-{digest[:16]}.zip")


def fetch(runtime: str, target: Path) -> list[Path]:
    """Have pip fetch the wheels of `LOCK` for a runtime of Lambda's, such as python3.13, on x86-64; return them."""
    platforms = [f"--platform=manylinux{name}_x86_64" for name in ("2014", "_2_28", "_2_34")]  # Amazon Linux 2023
    version = runtime.removeprefix("python")
    wanted = ["--only-binary=:all:", "--no-deps", "--require-hashes", f"--python-version={version}", *platforms]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "download", *wanted]
    run = subprocess.run([*command, "-d", target, "-r", LOCK], check=False)  # noqa: S603 - pip, by this project's lock
    if run.returncode:
        raise SystemExit(f"pip could not fetch what {LOCK.name} names; connect this machine to the package index.")
    return sorted(target.glob("*.whl"))


def pack_signer(runtime: str, target: Path) -> Path:
    """Write the archive of the function that signs, and return where."""
    with tempfile.TemporaryDirectory() as place:
        return pack(needed(SIGNER), target, name="signer", wheels=fetch(runtime, Path(place)))


def with_defaults(text: str, defaults: dict[str, str]) -> str:
    """Return a template's text in which parameters have these defaults, whether they had one or not."""
    for name, value in defaults.items():
        pattern = rf"(^  {name}:\n    Type: String\n)(    Default: .*\n)?"
        text, times = re.subn(pattern, rf"\g<1>    Default: {value}\n", text, flags=re.MULTILINE)
        if times != 1:
            raise SystemExit(f"{TEMPLATE} has no parameter {name} whose default can be set")
    return text


def retained(template: dict[str, Any]) -> dict[str, Any]:
    """Return the template of what outlives the stack, alone."""
    resources = {name: item for name, item in template["Resources"].items() if item.get("DeletionPolicy") == "Retain"}
    asked = json.dumps(resources)
    used = {name: item for name, item in template["Parameters"].items() if _is_used(name, asked)}
    version = template["AWSTemplateFormatVersion"]
    return {"AWSTemplateFormatVersion": version, "Parameters": used, "Resources": resources}


def _is_used(parameter: str, text: str) -> bool:
    return f'{{"Ref": "{parameter}"}}' in text or f"${{{parameter}}}" in text


def identifiers(template: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """Return the list that `--resources-to-import` takes."""
    return [_identifier(name, item, prefix) for name, item in template["Resources"].items()]


def _identifier(name: str, item: dict[str, Any], prefix: str) -> dict[str, Any]:
    key, attribute = IDENTIFIERS[item["Type"]]
    value = item["Properties"][attribute]["Fn::Sub"].replace("${Prefix}", prefix)
    return {"ResourceType": item["Type"], "LogicalResourceId": name, "ResourceIdentifier": {key: value}}


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"


def build(outdir: Path, prefix: str = PREFIX, *, signer: bool = False) -> None:
    """Write all of it, and remove the code that another build has left there."""
    outdir.mkdir(parents=True, exist_ok=True)
    for old in [*outdir.glob("iot-cert-cloud-*.zip"), *outdir.glob("iot-cert-signer-*.zip")]:
        old.unlink()
    code = pack(needed(), outdir).name
    defaults = {"Prefix": prefix, "CodeKey": code}
    if signer:
        runtime = parse(TEMPLATE.read_text())["Resources"]["Sign"]["Properties"]["Runtime"]
        defaults["SignerCodeKey"] = pack_signer(runtime, outdir).name
    text = with_defaults(TEMPLATE.read_text(), defaults)
    kept = retained(parse(text))
    example = {"CodeBucket": "YOUR-BUCKET", "CodeKey": code, "Prefix": prefix, "ApplicationPolicy1": ""}
    listed = [{"ParameterKey": key, "ParameterValue": value} for key, value in example.items()]
    (outdir / "template.yaml").write_text(text)
    (outdir / "parameters.example.json").write_text(_json(listed))
    (outdir / "retained.json").write_text(_json(kept))
    (outdir / "retained-resources.json").write_text(_json(identifiers(kept, prefix)))
    for path in sorted(outdir.iterdir()):
        print(f"{path.stat().st_size:>8} {path}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="cloud.py", description="Write what is deployed in an AWS account.")
    parser.add_argument("outdir", type=Path, metavar="OUTDIR")
    parser.add_argument("--prefix", default=PREFIX, help="what every name begins with (default: %(default)s)")
    parser.add_argument("--signer", action="store_true", help="also pack the function that signs")
    given = parser.parse_args()
    build(given.outdir, given.prefix, signer=given.signer)


if __name__ == "__main__":
    main()
