"""Keys and certificates. Nothing else on a gateway imports `cryptography`."""
