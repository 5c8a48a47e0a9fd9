"""The stand-in board: a strict test double of a Jetson. No number it gives was measured anywhere."""

BANNER = "STAND-IN"
