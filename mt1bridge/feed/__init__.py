"""From sightings to facts, each once: stage 2. Pure."""
