"""QKeras's quantizers of four bits composed of PyTorch's operators, with gradients that pass straight through.

What `bitloop bench train --quantized` computes: kernels `quantized_bits(4,0,1)` with a power of two per filter that is found
by least squares in every step, biases `quantized_bits(4)`, activations `quantized_relu(4)`, and weights kept within -1..1.
"""

import torch
from torch import nn
from torch.nn import functional

CODES = 2 ** 3
RELU_CODES = 2 ** 4
LEVELS = CODES - 1
REFINEMENTS = 5
EPSILON = 1e-7


class Rounded(torch.autograd.Function):
    """Values in place of others, whose gradient they pass on."""

    @staticmethod
    def forward(_, weight, quantized):
        return quantized

    @staticmethod
    def backward(_, gradient):
        return gradient, None


class RoundedRelu(torch.autograd.Function):
    """A rectifier in steps of a sixteenth, up to 15 of them."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return torch.mul(x, RELU_CODES).round_().clamp_(0, RELU_CODES - 1).mul_(1 / RELU_CODES)

    @staticmethod
    def backward(context, gradient):
        (x,) = context.saved_tensors
        return gradient * ((x > 0) & (x <= 1 - 1 / RELU_CODES))


class QuantizedRelu(nn.Module):
    def forward(self, x):
        return RoundedRelu.apply(x)


class QuantizedConv2d(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, kernel(self.weight, self.groups > 1), bias(self.bias))


class QuantizedLinear(nn.Linear):
    def forward(self, x):
        return functional.linear(x, kernel(self.weight, False), bias(self.bias))


def quantize(network):
    """Puts quantizers into a sequence of layers, in place."""
    for index, layer in enumerate(network):
        if isinstance(layer, nn.ReLU):
            network[index] = QuantizedRelu()
        elif isinstance(layer, nn.Conv2d):
            layer.__class__ = QuantizedConv2d
        elif isinstance(layer, nn.Linear):
            layer.__class__ = QuantizedLinear
    return network


@torch.no_grad()
def clip(network):
    """What QKeras's layers do behind every step."""
    for layer in network:
        if isinstance(layer, (QuantizedConv2d, QuantizedLinear)):
            for parameter in layer.parameters():
                parameter.clamp_(-1, 1)


def kernel(weight, depthwise):
    with torch.no_grad():
        axes = list(range(0 if depthwise else 1, weight.dim()))
        scale = power(weight.abs().amax(axes, keepdim=True) * (2 / (2 * LEVELS)))
        for _ in range(REFINEMENTS):
            codes = nearest(weight, scale)
            scale = power((weight * codes).mean(axes, keepdim=True) / ((codes * codes).mean(axes, keepdim=True) + EPSILON))
        quantized = nearest(weight, scale) * scale
    return Rounded.apply(weight, quantized)


def nearest(weight, scale):
    return torch.sign(weight) * torch.floor(weight.abs() / scale + 0.5).clamp_(max=LEVELS)


def power(scale):
    return torch.exp2(torch.round(torch.log2(scale + EPSILON)))


def bias(values):
    if values is None:
        return None
    with torch.no_grad():
        quantized = torch.round(values * CODES).clamp_(-CODES, LEVELS) / CODES
    return Rounded.apply(values, quantized)
