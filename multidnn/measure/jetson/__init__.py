"""Tables of a Jetson board: from profiles of engines, and from the memory controller while engines run."""
