"""Kafka: the sink."""
