"""What travels between the tiers: messages, topics, compression and the sealed envelope. Pure: no sockets, no clock."""
