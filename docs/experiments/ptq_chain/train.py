"""Trains ShuffleNetV2, ResNet18 and MobileNetV2 on Fashion-MNIST for the post-training quantization experiment.

Architectures, strides and parameter names are torchvision's. Two things are added: ten classes, and a learned 1x1
convolution `shim` that makes three channels of the grey one. Images are enlarged from 28x28 to 32x32 as bytes, so that
every reader of the checkpoint can see the same pixels. README.md beside this file says how to use the results.

For each network NAME it writes into the output folder
  NAME.pth            state dict, zip format: torchvision's keys plus `shim.weight` and `shim.bias`
  NAME.legacy.pth     the same tensors in the format from before PyTorch 1.6
  NAME.json           settings, test accuracy, labels and logits of the first test images
  NAME.onnx           opset 17, batch norms kept, free batch size
  NAME.folded.onnx    opset 13, batch norms folded into the convolutions, batch size 1
and once the enlarged test images as an IDX file.
"""

import argparse
import gzip
import json
import struct
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional

# Mean and standard deviation of the training pixels in units of the full range.
PIXEL_MEAN, PIXEL_DEVIATION = 0.2860, 0.3530
CLASSES = 10
IMAGE_SIZE = 32
# Images whose logits go into the JSON file, from the front of the test set.
LOGIT_IMAGES = 20
EVALUATION_BATCH = 500
NETWORKS = ("mobilenet_v2", "shufflenet_v2_x1_0", "resnet18")
# Share of the steps in which the learning rate rises.
WARMUP_SHARE = 0.2
# Fewer leave no step to warm up in.
FEWEST_STEPS = 10


def main():
    settings = arguments()
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    settings.out.mkdir(parents=True, exist_ok=True)
    train = read_split(settings.data, "train")
    test = read_split(settings.data, "t10k")
    write_idx_images(settings.out / f"t10k-images-{IMAGE_SIZE}x{IMAGE_SIZE}-idx3-ubyte", test[0])
    for name in settings.networks:
        torch.manual_seed(settings.seed)
        model = build(name)
        fit(model, train, settings)
        result = describe(model, test)
        print(f"{name}: test top-1 {result['top1']:.4f}", flush=True)
        write(name, model, result, settings)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"),
                        help="folder with the four IDX files, plain or gzipped")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, metavar="NAME",
                        help=f"which of {', '.join(NETWORKS)}")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--images", type=int, default=60000, help="training images per epoch, drawn anew each epoch")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="the highest one")
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="another number sums in another order")
    return parser.parse_args()


def build(name):
    """The network with its shim. Shapes: (N, 1, 32, 32) normalised grey images -> (N, classes) logits."""
    shim = nn.Conv2d(1, 3, 1, bias=True)
    # Begins as three copies of the grey channel.
    nn.init.ones_(shim.weight)
    nn.init.zeros_(shim.bias)
    network = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    model = nn.Sequential(OrderedDict(shim=shim, network=network))
    # This layout halves the time of depthwise convolutions on CPUs.
    return model.to(memory_format=torch.channels_last)


def state_of(model):
    """The state dict with torchvision's key names and rows of plain C order."""
    return OrderedDict((key.removeprefix("network."), value.contiguous()) for key, value in model.state_dict().items())


def fit(model, train, settings):
    """Trains with AdamW; the learning rate rises along half a cosine and falls to about zero along another."""
    images, labels = train
    draws = torch.Generator().manual_seed(settings.seed)
    steps_per_epoch = min(settings.images, len(images)) // settings.batch
    steps = settings.epochs * steps_per_epoch
    if steps < FEWEST_STEPS:
        raise SystemExit(f"{steps} steps are too few to train, ask for more --images or --epochs")
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=steps, pct_start=WARMUP_SHARE,
        cycle_momentum=False)
    started = time.monotonic()
    for epoch in range(settings.epochs):
        model.train()
        order = torch.randperm(len(images), generator=draws)
        loss_sum = 0.0
        for step in range(steps_per_epoch):
            chosen = order[step * settings.batch:(step + 1) * settings.batch]
            batch = mirror_half(normalise(images[chosen]), draws)
            loss = functional.cross_entropy(model(batch), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item()
            if step % 50 == 49:
                print(f"  epoch {epoch + 1}, step {step + 1} of {steps_per_epoch}: loss {loss_sum / (step + 1):.4f}, "
                      f"{time.monotonic() - started:.0f} s", flush=True)
    model.eval()


def mirror_half(batch, draws):
    """Mirrors each image left to right with probability one half."""
    mirrored = torch.rand(len(batch), generator=draws) < 0.5
    return torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)


def describe(model, test):
    """Accuracy on all test images and the logits of the first ones."""
    images, labels = test
    with torch.no_grad():
        logits = torch.cat([model(normalise(part)) for part in images.split(EVALUATION_BATCH)])
    correct = int((logits.argmax(1) == labels).sum())
    return {
        "top1": correct / len(labels),
        "correct": correct,
        "test_images": len(labels),
        "cross_entropy": functional.cross_entropy(logits, labels).item(),
        "first_labels": labels[:LOGIT_IMAGES].tolist(),
        "first_logits": logits[:LOGIT_IMAGES].tolist(),
    }


def write(name, model, result, settings):
    state = state_of(model)
    torch.save(state, settings.out / f"{name}.pth")
    torch.save(state, settings.out / f"{name}.legacy.pth", _use_new_zipfile_serialization=False)
    record = {
        "architecture": name,
        "classes": CLASSES,
        "input": [1, IMAGE_SIZE, IMAGE_SIZE],
        "pixel_mean": PIXEL_MEAN,
        "pixel_deviation": PIXEL_DEVIATION,
        "epochs": settings.epochs,
        "images_per_epoch": settings.images,
        "batch": settings.batch,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "seed": settings.seed,
        "threads": settings.threads,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        **result,
    }
    (settings.out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    export(model, settings.out / f"{name}.onnx", opset=17, keep_batch_norms=True)
    export(model, settings.out / f"{name}.folded.onnx", opset=13, keep_batch_norms=False)


def export(model, path, opset, keep_batch_norms):
    """Writes ONNX by tracing. Batch norms and the free batch size go together: one file is as rich, one as plain as can be."""
    mode = torch.onnx.TrainingMode.PRESERVE if keep_batch_norms else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(
        model, (torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE),), str(path), dynamo=False, opset_version=opset, training=mode,
        do_constant_folding=not keep_batch_norms, input_names=["image"], output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}} if keep_batch_norms else None)


def read_split(folder, split):
    """The images of a split, enlarged, and their labels. Shapes: bytes (N, 1, 32, 32), int64 (N,)."""
    images = read_idx(folder / f"{split}-images-idx3-ubyte")
    labels = read_idx(folder / f"{split}-labels-idx1-ubyte")
    enlarged = np.stack([enlarge(image) for image in images])
    return torch.from_numpy(enlarged)[:, None], torch.from_numpy(labels.astype(np.int64))


def enlarge(image):
    """Bilinear with half-pixel centres, rounded to bytes: rows first, then columns, as Pillow does it."""
    return np.asarray(Image.fromarray(image).resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR))


def normalise(images):
    """Bytes to floats of about zero mean and unit deviation."""
    return (images.float() / 255 - PIXEL_MEAN) / PIXEL_DEVIATION


def read_idx(path):
    """An IDX file of bytes; the gzipped one beside it where the plain one is missing."""
    content = path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
    zero, kind, rank = struct.unpack_from(">HBB", content)
    if (zero, kind) != (0, 8):
        raise SystemExit(f"{path} is not an IDX file of bytes")
    shape = struct.unpack_from(f">{rank}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def write_idx_images(path, images):
    """Images as IDX. Shapes: bytes (N, 1, height, width)."""
    count, _, height, width = images.shape
    path.write_bytes(struct.pack(">HBBIII", 0, 8, 3, count, height, width) + images.numpy().tobytes())


if __name__ == "__main__":
    main()
