"""One network kept at its latency while others run: what partitions give beside streams and priorities, and at what price."""
