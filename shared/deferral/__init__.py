"""Deciding which frames the device keeps and which it sends: scores, bounds, audit and policy. Pure."""
