"""What the operator's verbs decide, from what was read of the account. No I/O, no clock, no chance."""
