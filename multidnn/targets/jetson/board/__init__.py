"""What runs on the board itself, in its own Python (3.8 or newer): `python3 -m board COMMAND REQUEST.json ANSWER.json`.

This folder is copied to the board alone, so it imports nothing but the standard library, numpy, and, inside what needs
them, tensorrt and pycuda.
"""
