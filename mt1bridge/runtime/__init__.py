"""Clock, back-off, inbox, logs, systemd: knows nothing of timing."""
