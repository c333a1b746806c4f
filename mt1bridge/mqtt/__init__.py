"""The MQTT broker: stage 5. Pure: the hand-over. Shell: publisher (paho)."""
