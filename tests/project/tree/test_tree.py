"""The tree itself: names that agree, files that must not be there, documents that say what the program says."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from agent import __version__
from agent.cli.command_line.parser import parse
from agent.crypto import x509

ROOT = Path(__file__).parents[3]

# "Server authentication" and amazontrust.com/repository: SHA-256 of each certificate.
AMAZON = {
    "8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
    "1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
    "18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
    "e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
    "568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
}


def tracked() -> list[Path]:
    """Return the files that git knows, or would take."""
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def test_no_folder_but_the_package_is_importable() -> None:
    """An `__init__.py` in packaging/, systemd/ or config/ would shadow a real package."""
    packages = {path.parent.relative_to(ROOT).parts[0] for path in tracked() if path.name == "__init__.py"}
    assert packages <= {"agent", "tests"}
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_locks_name_hashes_and_no_host() -> None:
    """Requirements are names, versions and hashes; where they come from is the installer's business."""
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text
        assert "--index" not in text
        for block in re.split(r"\n+(?=\S)", text.strip()):
            assert re.match(r"[a-z0-9._-]+==\S+ \\\n", block), block
            assert "--hash=sha256:" in block


def test_the_baked_anchors_are_amazons() -> None:
    """The file holds the five roots that Amazon Trust Services asks for, and no other."""
    bundle = x509.read_bundle((ROOT / "config" / "amazon-roots.pem").read_bytes())
    assert {anchor.sha256 for anchor in bundle.anchors} == AMAZON


def versions(root: Path) -> dict[str, str]:
    """Return each version that a file of the tree states, by where it stands."""
    headings = re.findall(r"^## \[?(\d[^\] ]*)", (root / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    packed = re.search(r"^version=(.*)$", (root / "packaging" / "build-deb").read_text(), flags=re.MULTILINE)
    assert packed is not None
    shell = ["/bin/sh", "-uc", f'source=$1; VERSION=; printf %s "{packed[1]}"', "sh", str(root)]
    recipe = next((root / "packaging" / "yocto").glob("*.bb")).stem
    stated = {
        "the Debian package": subprocess.run(shell, capture_output=True, text=True, check=True).stdout,
        "the recipe's name": recipe.removeprefix("iot-cert-agent_"),
    }
    return stated | ({"the last release of the changelog": headings[0]} if headings else {})


def test_one_version_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """It stands in `agent/__init__.py`; what else states one agrees, and pyproject.toml takes it from there."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert set(versions(ROOT).values()) == {__version__}
    with pytest.raises(SystemExit):
        parse(["--version"])
    assert capsys.readouterr().out == f"iot-cert {__version__}\n"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["name"] == "iot-cert-agent"
    assert settings["project"]["scripts"] == {"iot-cert": "agent.cli:main"}
    assert "version" not in settings["project"]
    assert settings["tool"]["hatch"]["version"] == {"path": "agent/__init__.py"}


@pytest.mark.parametrize(
    ("name", "old", "new", "place"),
    [
        ("agent/__init__.py", __version__, "9.9.9", "the Debian package"),
        (
            "CHANGELOG.md",
            "## Unreleased",
            "## Unreleased\n\n## [9.9.9] - 2026-11-01",
            "the last release of the changelog",
        ),
        ("packaging/yocto/iot-cert-agent_9.9.9.bb", "", "", "the recipe's name"),
    ],
)
def test_another_version_is_seen(tmp_path: Path, name: str, old: str, new: str, place: str) -> None:
    """Planted in a copy."""
    for path in ("agent/__init__.py", "CHANGELOG.md", "packaging/build-deb"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    (tmp_path / "packaging" / "yocto").mkdir()
    if name.endswith(".bb"):
        (tmp_path / name).touch()
    else:
        (tmp_path / f"packaging/yocto/iot-cert-agent_{__version__}.bb").touch()
        (tmp_path / name).write_text((tmp_path / name).read_text().replace(old, new, 1))
    assert {where for where, text in versions(tmp_path).items() if text != __version__} == {place}


def test_the_wheel_holds_one_package(tmp_path: Path) -> None:
    """What is built imports as `agent` and as nothing else."""
    import zipfile  # noqa: PLC0415 - beside the one use

    from hatchling import build  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name = build.build_wheel(str(tmp_path))
    with zipfile.ZipFile(tmp_path / name) as wheel:
        top = {entry.split("/")[0] for entry in wheel.namelist()}
    assert name == f"iot_cert_agent-{__version__}-py3-none-any.whl"
    assert top == {"agent", f"iot_cert_agent-{__version__}.dist-info"}
