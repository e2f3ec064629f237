"""Simulated fleets that take a release in stages, judged by the cloud's own rules."""
