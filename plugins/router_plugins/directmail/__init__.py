"""DirectMail: its results as events."""
