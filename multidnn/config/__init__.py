"""The configuration of a pipeline: checked with one clear message per mistake, then read by rules."""
