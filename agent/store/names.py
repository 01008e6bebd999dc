"""The names of what applications, the daemon and other programs find in a state directory. It imports nothing."""

from __future__ import annotations

CURRENT = "current"
PREVIOUS = "previous"
GENERATIONS = "generations"  # the directory that both point into

KEY = "key.pem"
CERTIFICATE = "certificate.pem"
CREDENTIAL = "credential.pem"
TRUST = "trust.pem"
MANIFEST = "manifest.json"


def final_name(number: int) -> str:
    """Return the name of a whole generation's directory."""
    return f"{number:06d}"
