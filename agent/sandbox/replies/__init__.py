"""What the cloud says and to what: topics, replies, refusals, and what a fault makes of them."""
