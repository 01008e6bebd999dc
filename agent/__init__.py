"""Certificate rotation agent for AWS IoT gateways."""

__version__ = "0.1.0"
