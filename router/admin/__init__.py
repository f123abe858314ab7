"""The admin API: what the daemon tells of itself, and what it can be told to do."""
