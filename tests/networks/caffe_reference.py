"""What Caffe computes, written in plain loops over numpy arrays: the independent side of the conversion tests."""

import math

import numpy as np


def padded(x, rows, columns):
    """Zero padding of the last two axes by (before, after) pairs."""
    return np.pad(x, [(0, 0), (0, 0), rows, columns])


def convolution(x, weight, bias, stride, pad, dilation, group):
    """Grouped, dilated cross-correlation."""
    batch, _, height, width = x.shape
    count, depth, kernel_h, kernel_w = weight.shape
    out_h = (height + 2 * pad[0] - (dilation[0] * (kernel_h - 1) + 1)) // stride[0] + 1
    out_w = (width + 2 * pad[1] - (dilation[1] * (kernel_w - 1) + 1)) // stride[1] + 1
    x = padded(x.astype(np.float64), (pad[0], pad[0]), (pad[1], pad[1]))
    y = np.zeros((batch, count, out_h, out_w))
    for o in range(count):
        first = o // (count // group) * depth
        for i in range(out_h):
            for j in range(out_w):
                window = x[
                    :,
                    first : first + depth,
                    i * stride[0] : i * stride[0] + dilation[0] * kernel_h : dilation[0],
                    j * stride[1] : j * stride[1] + dilation[1] * kernel_w : dilation[1],
                ][:, :, :kernel_h, :kernel_w]
                y[:, o, i, j] = (window * weight[o]).sum(axis=(1, 2, 3))
    return y if bias is None else y + bias[None, :, None, None]


def deconvolution(x, weight, bias, stride, pad, dilation, group):
    """Every input value spreads the kernel over the output; the padding is cut off at the end."""
    batch, channels, height, width = x.shape
    _, per_group, kernel_h, kernel_w = weight.shape
    full_h = stride[0] * (height - 1) + dilation[0] * (kernel_h - 1) + 1
    full_w = stride[1] * (width - 1) + dilation[1] * (kernel_w - 1) + 1
    y = np.zeros((batch, per_group * group, full_h, full_w))
    for c in range(channels):
        first = c // (channels // group) * per_group
        for i in range(height):
            for j in range(width):
                for a in range(kernel_h):
                    for b in range(kernel_w):
                        y[
                            :,
                            first : first + per_group,
                            i * stride[0] + a * dilation[0],
                            j * stride[1] + b * dilation[1],
                        ] += x[:, c, i, j, None].astype(np.float64) * weight[c, :, a, b]
    y = y[:, :, pad[0] : full_h - pad[0], pad[1] : full_w - pad[1]]
    return y if bias is None else y + bias[None, :, None, None]


def pooled_size(size, kernel, stride, pad, floor=False):
    """Caffe rounds up, then drops a last window that starts beyond the input and its left padding."""
    rounding = math.floor if floor else math.ceil
    count = rounding((size + 2 * pad - kernel) / stride) + 1
    while (count - 1) * stride >= size + pad:
        count -= 1
    return count


def pooling(x, kind, kernel, stride, pad, floor=False):
    """MAX or AVE; the average divides by the window clipped to the padded input."""
    batch, channels, height, width = x.shape
    out_h = pooled_size(height, kernel[0], stride[0], pad[0], floor)
    out_w = pooled_size(width, kernel[1], stride[1], pad[1], floor)
    y = np.zeros((batch, channels, out_h, out_w))
    for i in range(out_h):
        for j in range(out_w):
            top, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
            bottom, right = min(top + kernel[0], height + pad[0]), min(left + kernel[1], width + pad[1])
            divisor = (bottom - top) * (right - left)
            window = x[:, :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)].astype(np.float64)
            y[:, :, i, j] = window.max(axis=(2, 3)) if kind == "MAX" else window.sum(axis=(2, 3)) / divisor
    return y


def lrn(x, size, alpha, beta, k):
    """Local response normalisation across channels."""
    y = np.zeros(x.shape)
    for c in range(x.shape[1]):
        near = x[:, max(0, c - size // 2) : c + size // 2 + 1].astype(np.float64)
        y[:, c] = x[:, c] / (k + alpha / size * (near**2).sum(axis=1)) ** beta
    return y


def softmax(x, axis):
    """Exponentials over their sum."""
    e = np.exp(x.astype(np.float64) - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
