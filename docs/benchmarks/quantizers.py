"""Gives the quantizers of AIMET's simulator the encodings of bitloop's points, and checks that the two correspond."""

from dataclasses import dataclass

import torch
from torch import nn

# Of the random values by which grids are compared.
SEED = 1
VALUES_PER_SCALE = 256
# They reach so far beyond the ends of the grid, in widths of it.
BEYOND = 0.25
# In steps: values on the same code may differ by their last bits; in the middle between two codes the last bit decides.
SAME_CODE, ONE_CODE = 1e-3, 1.001
TIES_SHARE_MAX = 1e-3
# Both programs calibrate on the same images, AIMET with the quantizers in front of a tensor acting, bitloop in float.
RANGE_SHARE_MAX = 0.1


@dataclass
class Place:
    """A quantizer of the simulator, where it is executed."""

    name: str
    kind: str
    # Of the weight, or of the activations of one image.
    values: int
    module: nn.Module
    quantizer: nn.Module


def drop_quantizers_before_rectifiers(model):
    """Leaves one quantizer behind a convolution and its rectifier, as in bitloop; returns how many are taken away.

    AIMET does so by itself except for depthwise convolutions, where it would simulate more than is compared.
    """
    modules, dropped = dict(model.named_modules()), 0
    for node in model.graph.nodes:
        module = modules.get(node.target) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d) and len(node.users) == 1:
            (user,) = node.users
            follower = modules.get(user.target) if user.op == "call_module" else None
            if isinstance(follower, (nn.ReLU, nn.ReLU6)) and module.output_quantizers[0] is not None:
                module.output_quantizers[0] = None
                dropped += 1
    return dropped


def places(model, image):
    """The quantizers in the order in which an image meets them; a layer's weight goes before its output."""
    found = []

    def hook(name):
        return lambda module, inputs, output: found.extend(places_of(name, module, inputs, output))

    hooks = [module.register_forward_hook(hook(name)) for name, module in model.named_modules()]
    with torch.no_grad():
        model(image)
    for each in hooks:
        each.remove()
    return found


def places_of(name, module, inputs, output):
    for quantizer, values in zip(getattr(module, "input_quantizers", []), inputs):
        if quantizer is not None:
            yield Place(f"input of {name}", "activation", values.numel(), module, quantizer)
    parameters = getattr(module, "param_quantizers", {})
    if "weight" in parameters and parameters["weight"] is not None:
        yield Place(f"{name}.weight", "weight", module.weight.numel(), module, parameters["weight"])
    for quantizer in getattr(module, "output_quantizers", []):
        if quantizer is not None:
            yield Place(f"{name}.output", "activation", output.numel(), module, quantizer)


def check_correspondence(found, points):
    """Ends the program where bitloop's points, in graph order, and the simulator's quantizers are not the same."""
    for index in range(max(len(found), len(points))):
        place = found[index] if index < len(found) else None
        point = points[index] if index < len(points) else None
        same = place and point and (place.kind, place.values) == (point["kind"], point["values"])
        if same and place.kind == "weight":
            same = place.name.removeprefix("network.") == point["point"]
        if not same:
            ours = f"{point['kind']} {point['point']} of {point['values']} values" if point else "no point"
            theirs = f"{place.kind} {place.name} of {place.values} values" if place else "no quantizer"
            raise SystemExit(f"quantizer {index + 1} is {ours} in bitloop and {theirs} in AIMET, which are not comparable")


def check_range(place, encoding):
    """Ends the program if AIMET found quite another range for an activation on the same calibration images.

    Weights correspond by name (and where a channel has a single weight, AIMET's own range is 128 times as wide).
    """
    steps = place.quantizer.qmax - place.quantizer.qmin
    scale, offset = shaped(place.quantizer, encoding)
    low = scale * (offset + place.quantizer.qmin)
    away = torch.maximum((place.quantizer.get_min() - low).abs(),
                         (place.quantizer.get_max() - low - scale * steps).abs())
    share = (away / (scale * steps)).max().item()
    if not share <= RANGE_SHARE_MAX:
        raise SystemExit(f"the range of {place.name} is {share:.1%} off between AIMET and bitloop on the same images")


def set_encoding(quantizer, encoding):
    """Gives a quantizer bitloop's width, scales and offsets; ends the program where they do not come out again."""
    quantizer.bitwidth = encoding["bits"]
    scale, offset = shaped(quantizer, encoding)
    ends = [(scale.double() * (offset + end)).float() for end in (quantizer.qmin, quantizer.qmax)]
    quantizer.set_range(*ends)
    if not torch.equal(quantizer.get_offset(), offset) or not torch.allclose(quantizer.get_scale(), scale, rtol=1e-6, atol=0):
        raise SystemExit(f"AIMET's quantizer {quantizer} does not take the encoding {encoding}")


def shaped(quantizer, encoding):
    """Scale and offset in the form of the quantizer: one number, or one for each output channel."""
    return [torch.tensor(encoding[key], dtype=torch.float32).reshape(quantizer.shape) for key in ("scale", "offset")]


def check_grid(quantizer, encoding):
    """Ends the program if the quantizer gives other values than `(code + offset) * scale` with the nearest code."""
    scale, offset = shaped(quantizer, encoding)
    low, high = quantizer.qmin + offset, quantizer.qmax + offset
    shape = (*quantizer.shape[:-1], VALUES_PER_SCALE)
    uniform = torch.rand(shape, generator=torch.Generator().manual_seed(SEED)) * (1 + 2 * BEYOND) - BEYOND
    values = (low + uniform * (high - low)) * scale
    expected = (values / scale).round().clamp(low, high) * scale
    away = ((quantizer(values).as_subclass(torch.Tensor) - expected).abs() / scale).detach()
    if away.max() > ONE_CODE or (away > SAME_CODE).float().mean() > TIES_SHARE_MAX:
        raise SystemExit(f"AIMET's quantizer {quantizer} gives other values than bitloop's formula with {encoding}")


def narrow(quantizer, bits, encoding):
    """Sets a quantizer to few bits, with the range that it has or with the encoding given; returns what undoes that."""
    before = quantizer.bitwidth, quantizer.min.detach().clone(), quantizer.max.detach().clone()
    if encoding is None:
        quantizer.bitwidth = bits
    else:
        set_encoding(quantizer, encoding)

    def undo():
        quantizer.bitwidth = before[0]
        quantizer.set_range(*before[1:])
    return undo
