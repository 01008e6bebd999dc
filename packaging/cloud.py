"""Write what is deployed in an operator's AWS account: `cloud.py OUTDIR [--prefix NAME]`.

``template.yaml``
    config/cloud/template.yaml, which knows the name of the code beside it, and the prefix. CloudFormation takes it from
    a bucket, as the code: it is longer than the 51,200 bytes that are taken without one.
``iot-cert-cloud-HASH.zip``
    The code of its functions: what `agent.backend.lambdas` imports of this project, and no more. The SDK is Lambda's
    own. The same sources give the same bytes, and other sources another name: a name is what CloudFormation compares.
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
import zipfile
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
TEMPLATE: Final = ROOT / "config" / "cloud" / "template.yaml"
ENTRY: Final = "agent.backend.lambdas"
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


def pack(files: list[Path], target: Path) -> Path:
    """Write the archive into a directory, under a name with its hash, and return where.

    Nothing is compressed, because another zlib would give other bytes.
    """
    unnamed = target / "code.zip"
    with zipfile.ZipFile(unnamed, "w", zipfile.ZIP_STORED) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            archive.writestr(entry, (ROOT / path).read_bytes())
    digest = hashlib.sha256(unnamed.read_bytes()).hexdigest()
    return unnamed.rename(target / f"iot-cert-cloud-{digest[:16]}.zip")


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


def build(outdir: Path, prefix: str = PREFIX) -> None:
    """Write all of it, and remove the code that another build has left there."""
    outdir.mkdir(parents=True, exist_ok=True)
    for old in outdir.glob("iot-cert-cloud-*.zip"):
        old.unlink()
    code = pack(needed(), outdir).name
    text = with_defaults(TEMPLATE.read_text(), {"Prefix": prefix, "CodeKey": code})
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
    given = parser.parse_args()
    build(given.outdir, given.prefix)


if __name__ == "__main__":
    main()
