"""The session with AWS IoT Core, and what the fleet's operator says over it."""
