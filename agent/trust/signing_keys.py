"""The keys that bundles are signed with: in files, or wherever else securesystemslib finds them.

It owns what is said of a key that cannot be used, and shows nothing of one.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from agent.config.files import MAX_MATERIAL, read_bounded
from agent.errors import ConfigError

_FILE_SCHEME = "file2"


def signer_of(uri: str, public_pem: bytes | None) -> Signer:
    """Return the signer that a URI names: ``file2:KEY.pem`` or any other that securesystemslib knows.

    Args:
        uri: Where the private key is.
        public_pem: The public key, which a key in a file need not be told.

    Raises:
        ConfigError: The key cannot be used.
    """
    in_file = urlsplit(uri).scheme == _FILE_SCHEME
    if in_file:
        found = _signer_in(Path(uri.removeprefix(f"{_FILE_SCHEME}:")))
        if public_pem is None:
            return found
    if public_pem is None:
        hint = f"A key in a file is written {_FILE_SCHEME}:{uri}." if Path(uri).is_file() else ""
        raise ConfigError(
            f"{uri}: a key that is not in a file needs its public part (--public-key URI=FILE).", hint=hint
        )
    try:
        public = SSlibKey.from_crypto(load_pem_public_key(public_pem))
    except Exception:  # noqa: BLE001 - several unrelated types
        hint = "It is a public key as PEM, such as `openssl pkey -in key.pem -pubout` prints."
        raise ConfigError(f"{uri}: the file that --public-key names for it holds no usable key.", hint=hint) from None
    try:
        return Signer.from_priv_key_uri(uri, public)
    except Exception as error:  # noqa: BLE001 - a signer of any kind may raise anything; its text may hold what it was given
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        hint = "Check the URI, and that what it names is ready: a token that is plugged in, a service that answers."
        raise ConfigError(f"{uri}: the signing key cannot be used ({reason}).", hint=hint) from None


def _signer_in(path: Path) -> Signer:
    data = read_bounded(path, MAX_MATERIAL, "signing key")
    try:
        return CryptoSigner(load_pem_private_key(data, None))
    except TypeError:
        reason = "it is encrypted"
    except Exception:  # noqa: BLE001 - several unrelated types, and their texts may quote the key
        reason = "it is no private key of a kind that signs bundles"
    hint = "A file must hold an unencrypted PEM key: `openssl pkey -in encrypted.pem -out key.pem` opens one."
    raise ConfigError(f"{path}: the signing key cannot be used: {reason}.", hint=hint)
