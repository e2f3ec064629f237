"""A signed model version: its card, the delta codec, the trust rules and the content-addressed store."""
