"""Measuring honestly: warm-up, sampling, stability, environment facts, and the tables that come of it."""
