"""What is known, durable and in order: stage 3 (SQLite)."""
