"""The region tier: the server that answers hard cases, keeps them, and trains on them without letting them out."""
