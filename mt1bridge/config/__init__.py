"""One YAML file -> frozen settings, every problem at once with its line."""
