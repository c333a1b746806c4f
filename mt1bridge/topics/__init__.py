"""Facts and status -> topic names, payloads, Home Assistant discovery: stage 4. Pure."""
