"""Pure protocol logic: no await, no clock, no randomness, no I/O, no logging."""
