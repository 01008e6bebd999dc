"""The pure core: values, rules and the change state machine. No I/O, no clock, no chance, no logging."""
