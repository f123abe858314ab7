"""DirectMail and MNS on loopback: event rules, topics, queues, signed pushes, and campaigns to fill them."""

from router_plugins.emulator.service import Emulator, Service

__all__ = ["Emulator", "Service"]
