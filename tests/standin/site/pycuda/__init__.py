"""STAND-IN for pycuda: only what a test double of a Jetson needs, and only names that pycuda has."""

VERSION = (2026, 1)
VERSION_STATUS = ""
VERSION_TEXT = "2026.1"
