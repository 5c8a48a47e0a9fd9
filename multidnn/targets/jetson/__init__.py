"""Jetson boards as a target: GPU and DLAs that share their memory, used through TensorRT."""
