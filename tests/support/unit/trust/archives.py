"""Files of a repository, by their names in an archive or a directory."""

from __future__ import annotations

FILES = {
    "metadata/1.root.json": b'{"signed": 1}',
    "metadata/timestamp.json": b"",
    "targets/0a1b.anchors.pem": b"-----BEGIN\n" * 200,
}
