"""Whether the files that the gateway rests on were touched, told from what the file system keeps of each.

It is cheap, reads no file, and proves nothing: that something has changed is a reason to look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.store.names import CERTIFICATE, CREDENTIAL, CURRENT, GENERATIONS, KEY, MANIFEST, PREVIOUS, TRUST

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LINKS = (CURRENT, PREVIOUS)
# What a set consists of, by way of the link that applications use.
FILES = (KEY, CERTIFICATE, CREDENTIAL, TRUST, MANIFEST)


def of(state_dir: Path, others: Iterable[Path]) -> str:
    """Return a text that is another one when the set in use or before, a link, or one of the other files was touched.

    Args:
        state_dir: The state directory.
        others: Further files; a link stands for what it points at.
    """
    own = (*(state_dir / name for name in LINKS), *(state_dir / link / name for link in LINKS for name in FILES))
    traces = (*(_trace(path, follow=False) for path in own), *(_trace(path, follow=True) for path in others))
    directories = (state_dir, state_dir / GENERATIONS, *(state_dir / name for name in LINKS))
    return "|".join((*map(_dress, directories), *traces))


def _dress(path: Path) -> str:
    """Return what changes when a directory is given another mode or owner; what is made in it changes nothing."""
    try:
        status = path.stat()
    except OSError as error:
        return f"-{error.errno}"
    return f"{status.st_mode:o}.{status.st_uid}.{status.st_gid}"


def _trace(path: Path, *, follow: bool) -> str:
    """Return what changes when a file is written, replaced, or given another mode or owner; reading changes nothing."""
    try:
        status = path.stat(follow_symlinks=follow)
    except OSError as error:
        return f"-{error.errno}"
    return f"{status.st_dev}.{status.st_ino}.{status.st_size}.{status.st_mtime_ns}.{status.st_ctime_ns}"
