"""The mounting page: what a camera sees and what the model says of it, for a while, on this machine's loopback address only."""
