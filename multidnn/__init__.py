"""Profile, schedule and run several neural networks at once on one chip whose accelerators share memory."""

__version__ = "0.1.0"
