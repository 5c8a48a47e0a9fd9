"""The host target: inference runtimes pinned to disjoint processor cores, which share caches and memory."""
