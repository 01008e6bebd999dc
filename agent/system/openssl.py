"""Which settings of OpenSSL the agent's processes take: none of the machine's, unless the operator names a file.

The SDK, which every connection is made with, has a TLS library of its own that reads none. What is looked at, read and
verified before it with the machine's library must come to the same answer, whatever `openssl.cnf` asks of others.

The library reads its settings once, when a module that holds it is imported, so the word is given before; to this
process and the agent's own children. Other programs do not inherit it.
"""

from __future__ import annotations

import os

GIVEN = "IOT_CERT_OPENSSL_CONF"  # the operator's word: a file whose settings are meant for the agent, such as FIPS's


def settle() -> None:
    """Take the settings that the operator named for the agent, or those that the library was built with."""
    os.environ["OPENSSL_CONF"] = os.environ.get(GIVEN) or os.devnull


def of_others() -> dict[str, str]:
    """Return this process's environment as a program takes it that is none of the agent's."""
    return {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}
