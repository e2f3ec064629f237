"""`terrace demo --task detection`: whole boards, objects instead of labels."""
