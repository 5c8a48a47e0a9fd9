"""From co-runs to the slowdown model: how much slower a group gets by its own demand and the demand beside it."""
