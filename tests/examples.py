"""How long property tests and fuzzers search: the usual number of examples, or twenty times as many in `make test-long`."""

import os

LONG_RUN = bool(os.environ.get("TERRACE_LONG"))


def examples(count: int) -> int:
    """Return how many examples to try where `count` are tried usually."""
    return 20 * count if LONG_RUN else count
