"""Alibaba Cloud MNS (SMQ): queues that are pulled, topics that push, and the signatures of both."""
