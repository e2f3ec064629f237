"""Everything before and around the running system: certificates, the demo's testbed and the generator of its input."""
