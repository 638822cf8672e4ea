"""Writes torchvision_reference.json: what torchvision's networks are made of and what they compute.

Needs torch and torchvision (0.21.0 was used); run it in this folder. The weights are a formula, so that the Rust side
can make the same ones; the logits are computed in double precision.
"""

import json

import numpy
import torch
import torchvision
from torch import nn

NAMES = [
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenet_v2",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
]
CLASSES = 10
IMAGE = (3, 48, 40)


def noise(name, count):
    """Numbers in -1..1 that depend on a name and a position alone."""
    start = 0
    for byte in name.encode():
        start = (start * 31 + byte) % 2**32
    x = (numpy.arange(count, dtype=numpy.uint64) * 2654435761 + start) % 2**32
    x ^= x >> numpy.uint64(16)
    x = x * 0x85EBCA6B % 2**32
    x ^= x >> numpy.uint64(13)
    return x.astype(numpy.float64) / 2.0**31 - 1.0


def values(name, shape):
    u = noise(name, int(numpy.prod(shape)))
    if len(shape) > 1:
        u = u * (6.0 / numpy.prod(shape[1:])) ** 0.5
    elif name.endswith(".weight") or name.endswith(".running_var"):
        u = 1.0 + 0.3 * u
    else:
        u = 0.3 * u
    return torch.from_numpy(u.astype(numpy.float32).reshape(shape)).double()


def macs(model, size):
    total = 0

    def count(module, _, output):
        nonlocal total
        outputs = output[0].numel()
        per_output = module.weight[0].numel()
        total += outputs * per_output

    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        model(torch.zeros(1, 3, size, size))
    for handle in handles:
        handle.remove()
    return total


def tensors(model):
    state = model.state_dict().items()
    return {k: list(v.shape) for k, v in state if not k.endswith("num_batches_tracked")}


def described(name):
    published = torchvision.models.get_model(name).eval()
    small = torchvision.models.get_model(name, num_classes=CLASSES).eval()
    result = {
        "parameters": sum(p.numel() for p in published.parameters()),
        "macs": macs(published, 224),
        "macs_32x32": macs(small, 32),
        "tensors": tensors(published),
    }
    small = small.double()
    state = {k: values(k, s) for k, s in tensors(small).items()}
    small.load_state_dict(state, strict=False)
    image = torch.from_numpy(noise("image", int(numpy.prod(IMAGE))).astype(numpy.float32))
    with torch.no_grad():
        result["logits"] = small(image.double().reshape(1, *IMAGE))[0].tolist()
    return result


def main():
    models = {name: described(name) for name in NAMES}
    result = {"torchvision": torchvision.__version__, "image": IMAGE, "models": models}
    with open("torchvision_reference.json", "w") as file:
        json.dump(result, file, separators=(",", ":"))
        file.write("\n")


main()
