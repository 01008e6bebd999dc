"""What bounds a status without a daemon: the libraries that read a configuration and a certificate, and nothing more.

``libraries.py CONFIGURATION CERTIFICATE``.
"""

from __future__ import annotations

import sys

import yaml
from cryptography import x509

with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 - `pathlib` is an import more
    yaml.load(file, Loader=yaml.CSafeLoader)
with open(sys.argv[2], "rb") as file:  # noqa: PTH123 - see above
    x509.load_pem_x509_certificate(file.read()).not_valid_after_utc.isoformat()
