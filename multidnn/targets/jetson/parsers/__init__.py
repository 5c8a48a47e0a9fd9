"""One module per format that TensorRT's trtexec, tegrastats and jtop write on a Jetson; each turns a file into dataclasses.

Every module has `parse(text, place)` and `read(path)`; a mistake is an `InputError` of the form ``FILE:LINE: ...``.
Times are milliseconds, power is milliwatts, clocks are MHz, whatever the file's own unit.
"""
