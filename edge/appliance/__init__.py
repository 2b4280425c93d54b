"""The machine under the box: clock, randomness, files, lock, recovery phrase."""
