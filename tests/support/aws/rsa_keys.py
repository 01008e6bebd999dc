"""RSA keys that are no secret: of known primes, since the search takes up to a second."""

from __future__ import annotations

from functools import cache
from itertools import combinations

from cryptography.hazmat.primitives.asymmetric import rsa

# By the bits of a key: how much less than the largest number of half of them its primes are.
_BELOW = {
    1024: (569, 629),
    2048: (105, 179, 1397, 3177, 5025, 5409, 6083),
    3072: (3453, 4977, 7769, 8333, 9923, 10859, 11429),
}
_EXPONENT = 65537


@cache
def known_key(bits: int, number: int = 0) -> rsa.RSAPrivateKey:
    """Return a key of 1024, 2048 or 3072 bits.

    Args:
        bits: How long it is.
        number: Which one, from 0 on. There are 21 of 2048 and of 3072 bits, and one of 1024.

    Raises:
        LookupError: There is no such key.
    """
    p, q = list(combinations([2 ** (bits // 2) - below for below in _BELOW[bits]], 2))[number]
    d = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(_EXPONENT, p * q)
    crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *crt, public).private_key(unsafe_skip_rsa_key_validation=True)
