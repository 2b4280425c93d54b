"""How fast a box is, against its aims, on this machine: `make bench`."""
