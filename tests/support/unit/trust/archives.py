"""Archives with any member that a format can say."""

from __future__ import annotations

FILES = {
    "metadata/1.root.json": b'{"signed": 1}',
    "metadata/timestamp.json": b"",
    "targets/0a1b.anchors.pem": b"-----BEGIN\n" * 200,
}
