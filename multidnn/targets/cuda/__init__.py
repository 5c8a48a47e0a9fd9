"""The cuda target: disjoint partitions of one NVIDIA GPU's multiprocessors as accelerators that share its memory."""
