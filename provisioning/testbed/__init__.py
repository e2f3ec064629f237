"""The testbed: the whole system as real processes on one machine, once around the loop, with a ledger of what happened."""
