"""Where events go besides the event file: the plant's own MQTT broker, webhooks. One queue and one thread each."""
