"""A model that somebody brings along: looked at, made fit for devices, measured, given a card. `cli` holds the commands."""
