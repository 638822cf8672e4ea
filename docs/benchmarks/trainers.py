"""A worker that trains one network in PyTorch and measures its steps whenever it is told to.

compare.py starts it and lets it and bitloop take turns; the protocol is that of rivals.py. A step is what `bitloop train`
does with a batch: forward with the batch's statistics, cross-entropy with label smoothing, back, Nesterov momentum; if
ordered so, with quantizers in place.
"""

import json
import os
import sys
import time

import torch
from torch import nn

import fake_quantization

LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}
# Steps by which the faster layout is chosen, behind as many that warm up.
TRIAL_STEPS = 4
CLASSES, SIZE, SMOOTHING = 10, 28, 0.05
RATE, MOMENTUM, DECAY = 0.01, 0.9, 5e-4
EPSILON = 1e-3
# Filters per block, kind of convolutions, and whether blocks end in pooling or in a stride.
NETWORKS = {
    "plain": ([[16, 32], [48, 64]], "plain", True),
    "bn": ([[16, 32], [48, 64]], "bn", True),
    "depthwise": ([[16, 32], [48, 64]], "depthwise", True),
    "convblock": ([[12, 16], [24, 32], [48, 64]], "bn", False),
    "fashion_mnist": ([[16], [32] * 3, [64] * 3], "pooled_before_norm", True),
}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    trainer = Trainer(order["network"], order["batch"], order["quantized"])
    tell(answers, {"variant": trainer.layout, "torch": torch.__version__})
    for line in sys.stdin:
        tell(answers, trainer.measure(json.loads(line)["seconds"]))


def tell(answers, answer):
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def build(name):
    """bitloop's ConvBlock family. Two of convblock's convolutions pad two sides only there; here they pad all sides."""
    filters, kind, pools = NETWORKS[name]
    layers, channels, size = [], 1, SIZE
    for block in filters:
        for index, width in enumerate(block):
            stride = 2 if not pools and index + 1 == len(block) else 1
            layers += convolution(kind, channels, width, stride)
            channels = width
        size = size // 2 if pools else -(-size // 2)
        if pools and kind == "pooled_before_norm":
            layers[-2:-2] = [nn.MaxPool2d(2)]
        elif pools:
            layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size * size, CLASSES))


def convolution(kind, channels, width, stride):
    if kind == "plain":
        return [nn.Conv2d(channels, width, 3, stride=stride, padding=1), nn.ReLU()]
    if kind == "bn":
        return [nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False), *norm(width)]
    return [nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False), *norm(channels),
            nn.Conv2d(channels, width, 1, bias=False), *norm(width)]


def norm(width):
    return [nn.BatchNorm2d(width, eps=EPSILON), nn.ReLU()]


class Trainer:
    """A network that learns from one batch of noise, in the faster layout."""

    def __init__(self, network, batch, quantized):
        torch.manual_seed(1)
        self.quantized = quantized
        self.network = build(network).train()
        if quantized:
            fake_quantization.quantize(self.network)
        self.images = torch.randn(batch, 1, SIZE, SIZE)
        self.labels = torch.randint(CLASSES, (batch,))
        self.loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
        times = {}
        for layout in LAYOUTS:
            self.lay_out(layout)
            for _ in range(TRIAL_STEPS):
                self.step()
            times[layout] = min(self.step_s() for _ in range(TRIAL_STEPS))
        self.layout = min(times, key=times.get)
        self.lay_out(self.layout)

    def lay_out(self, layout):
        self.network.to(memory_format=LAYOUTS[layout])
        self.images = self.images.contiguous(memory_format=LAYOUTS[layout])
        self.optimizer = torch.optim.SGD(self.network.parameters(), RATE, momentum=MOMENTUM, nesterov=True,
                                         weight_decay=DECAY)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.network(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        if self.quantized:
            fake_quantization.clip(self.network)
        # As bitloop, which tells the loss of every step.
        return loss.item()

    def step_s(self):
        started = time.perf_counter()
        self.step()
        return time.perf_counter() - started

    def measure(self, seconds):
        """Learns again and again; at least once."""
        steps, wall, cpu = 0, time.perf_counter(), time.process_time()
        while steps == 0 or time.perf_counter() - wall < seconds:
            self.step()
            steps += 1
        count = steps * len(self.images)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"images": count, "images_per_s": count / wall, "cpu_s_per_image": cpu / count}


if __name__ == "__main__":
    main()
