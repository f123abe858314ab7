"""Tests of the Kafka plugins, which share a broker."""
