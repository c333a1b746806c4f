"""Clock, back-off, logs, TLS, the state directory, systemd: knows nothing of timing."""
