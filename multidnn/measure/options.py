"""How long and how often to measure (the `measure:` block of config.yaml)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MeasureOptions:
    """Sampling options.

    Attributes:
        warmup: passes that are run and thrown away.
        min_samples: samples that are always taken.
        max_samples: samples after which sampling stops even if time is left.
        budget_s: seconds of sampling for one series, once `min_samples` is reached.
        seed: seed of the inputs and of random choices.
    """

    warmup: int = 3
    min_samples: int = 10
    max_samples: int = 60
    budget_s: float = 2.0
    seed: int = 2024
