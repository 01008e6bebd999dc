"""What the cloud's side decides, from what it was asked and what it has seen. No I/O, no clock, no chance."""
