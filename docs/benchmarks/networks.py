"""The networks of the comparison: torchvision's architectures with seeded weights, and the network of the quick start.

What a network computes does not change how long it takes, with one exception: untrained batch norms let activations
shrink layer by layer down to denormal numbers, which are slow. So every batch norm gets statistics measured on images.
"""

import json
import struct
from collections import OrderedDict
from pathlib import Path

import torch
import torchvision
from torch import nn

SEED = 1
# Images from which the batch norms get their means and variances.
STATISTICS_IMAGES = 32
# Spread of the batch norms' factors and summands, about that of trained networks.
FACTORS, SUMMANDS = (0.5, 1.5), (-0.5, 0.5)
ZOO = ("mobilenet_v2", "resnet18", "shufflenet_v2_x1_0")
SHIPPED = "convblock"
# A 1x1 convolution from one channel to three in front of a network for grey images.
SHIM_KEYS = ("shim.weight", "shim.bias")
# Images smaller than this come with strides for small images: the first two halvings are left out.
PUBLISHED_SIZE_MIN = 96


def classes_of(size):
    """Ten classes for small images, ImageNet's thousand for large ones."""
    return 10 if size < PUBLISHED_SIZE_MIN else 1000


def input_shape(name, size):
    """Channels, height, width."""
    return (1, 28, 28) if name == SHIPPED else (3, size, size)


def build(name, size, small_strides):
    """The network in evaluation mode. Shapes: (N, channels, size, size) -> (N, classes)."""
    torch.manual_seed(SEED)
    if name == SHIPPED:
        return ConvBlock().eval()
    # The original asks the tensor for its size in every shuffle; AIMET would make modules of that arithmetic.
    torchvision.models.shufflenetv2.channel_shuffle = channel_shuffle
    network = torchvision.models.get_model(name, weights=None, num_classes=classes_of(size))
    if small_strides:
        leave_out_two_halvings(name, network)
    give_statistics(network, torch.randn(STATISTICS_IMAGES, 3, size, size))
    return network.eval()


def channel_shuffle(image, groups):
    return image.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def leave_out_two_halvings(name, network):
    """Does what `bitloop import --strides small-images` does."""
    if name == "resnet18":
        network.conv1.stride, network.maxpool = (1, 1), nn.Identity()
    elif name == "shufflenet_v2_x1_0":
        network.conv1[0].stride, network.maxpool = (1, 1), nn.Identity()
    elif name == "mobilenet_v2":
        network.features[0][0].stride = (1, 1)
        network.features[2].conv[1][0].stride = (1, 1)
    else:
        raise ValueError(f"no strides for small images are known for {name}")


@torch.no_grad()
def give_statistics(network, images):
    """Draws the batch norms' parameters and measures their statistics."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.uniform_(*FACTORS)
        norm.bias.uniform_(*SUMMANDS)
        norm.momentum = None
    network.train()(images)


def trained(name, path):
    """A trained network in evaluation mode, with its shim from one channel to three where the file has one.

    Shapes: (N, 1 or 3, size, size) -> (N, classes); the number of classes is that of the last bias.
    """
    state = torch.load(path, weights_only=True)
    torchvision.models.shufflenetv2.channel_shuffle = channel_shuffle
    shim = {key: state.pop(key) for key in SHIM_KEYS if key in state}
    network = torchvision.models.get_model(name, weights=None, num_classes=len(next(reversed(state.values()))))
    network.load_state_dict(state)
    if not shim:
        return network.eval()
    layers = nn.Sequential(OrderedDict(shim=nn.Conv2d(1, 3, 1), network=network))
    layers.shim.load_state_dict({key.removeprefix("shim."): value for key, value in shim.items()})
    return layers.eval()


@torch.inference_mode()
def classes(network, images):
    """The class of each grey image. Shapes: numbers (N, size, size) -> bytes (N,)."""
    batches = torch.from_numpy(images).float()[:, None].repeat(1, 3, 1, 1).split(STATISTICS_IMAGES)
    return torch.cat([network(batch).argmax(1) for batch in batches]).byte().numpy()


def save_state(network, path):
    """Writes the state dict with torchvision's keys."""
    torch.save({key: value.contiguous() for key, value in network.state_dict().items()}, path)


class ConvBlock(nn.Module):
    """As large as configs/quickstart/convblock.safetensors, layer by layer.

    Two of that file's convolutions pad bottom and right only. PyTorch would need a separate pass for that, so here all
    sides are padded: the same shapes and the same work.
    """

    WIDTHS = (12, 16, 24, 32, 48, 64)
    EPSILON = 1e-3
    FEATURES = 1024

    def __init__(self):
        super().__init__()
        layers = []
        for index, width in enumerate(self.WIDTHS):
            before = self.WIDTHS[index - 1] if index else 1
            layers += [nn.Conv2d(before, width, 3, stride=1 + index % 2, padding=1, bias=False),
                       nn.BatchNorm2d(width, eps=self.EPSILON), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.flatten = nn.Flatten()
        self.dense = nn.Linear(self.FEATURES, 10)
        self.softmax = nn.Softmax(dim=1)

    def forward(self, image):
        return self.softmax(self.dense(self.flatten(self.features(image))))

    @torch.no_grad()
    def load(self, path: Path):
        """Takes the tensors of a bitloop model file."""
        tensors = read_safetensors(path)
        convs = [module for module in self.features if isinstance(module, nn.Conv2d)]
        norms = [module for module in self.features if isinstance(module, nn.BatchNorm2d)]
        for index, (conv, norm) in enumerate(zip(convs, norms)):
            place = f"{index // 2}_{index % 2}"
            conv.weight.copy_(tensors[f"conv2d_{place}.weight"])
            norm.weight.copy_(tensors[f"bn_{place}.gamma"])
            norm.bias.copy_(tensors[f"bn_{place}.beta"])
            norm.running_mean.copy_(tensors[f"bn_{place}.running_mean"])
            norm.running_var.copy_(tensors[f"bn_{place}.running_var"])
        self.dense.weight.copy_(tensors["dense.weight"])
        self.dense.bias.copy_(tensors["dense.bias"])
        return self


def read_safetensors(path):
    """The f32 tensors of a file by name."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header, start = json.loads(content[8:8 + length]), 8 + length
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            values = torch.frombuffer(bytearray(content[start + begin:start + end]), dtype=torch.float32)
            tensors[name] = values.reshape(entry["shape"])
    return tensors
