"""Who is speaking: certificates, the chain rules, peers and TLS contexts."""
