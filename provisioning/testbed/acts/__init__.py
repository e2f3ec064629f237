"""The acts of the story, one file each: what is done to the running fleet, and what is measured while it happens."""
