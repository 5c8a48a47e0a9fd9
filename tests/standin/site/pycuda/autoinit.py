"""STAND-IN for pycuda.autoinit."""

import atexit

import pycuda.driver as cuda

cuda.init()
device = cuda.Device(0)
context = device.make_context()
atexit.register(context.pop)
