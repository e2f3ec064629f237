"""The parts of `make bench NAME=link` and `NAME=link-faults`: a shaped link, rivals, a thousand edges, faults."""
