"""What a network's output means, one file per task: decoding and the figures of merit."""
