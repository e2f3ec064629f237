"""How it travels: the sans-I/O session, the durable spool, and the MQTT and HTTPS adapters."""
