"""The edge tier: the agent that runs on a device, answers most frames itself and defers the hard ones."""
