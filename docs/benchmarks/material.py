"""Images and labels that bitloop and its rivals both read, and which of them an experiment calibrates and selects on."""

import gzip
import struct
from pathlib import Path

import numpy as np

# Images that set the ranges.
CALIBRATION_IMAGES = 256
# Of the split into calibration, selection and report.
SPLIT_SEED = 1
# Of the images of a network that is not trained.
IMAGE_SEED = 1
BYTE_MAX = 255
WORD = 2**64 - 1


def read_idx(path):
    """An IDX file of bytes, plain or gzipped."""
    content = Path(path).read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    zero, kind, rank = struct.unpack_from(">HBB", content)
    if (zero, kind) != (0, 8):
        raise SystemExit(f"{path} is not an IDX file of bytes")
    shape = struct.unpack_from(f">{rank}I", content, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def write_idx(path, values):
    path.write_bytes(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes())


def random_images(count, size, mean, deviation):
    """Grey images whose normalized pixels are nearly standard normal. Shape: bytes (count, size, size)."""
    pixels = np.random.default_rng(IMAGE_SEED).normal(mean, deviation, (count, size, size))
    return np.clip(np.rint(pixels * BYTE_MAX), 0, BYTE_MAX).astype(np.uint8)


def split(images, selection):
    """The calibration and the selection images of an experiment with `SPLIT_SEED`, by their place in the file.

    bitloop shuffles all images and cuts (`quant/src/data/split.rs`).
    """
    if images <= CALIBRATION_IMAGES + selection:
        raise SystemExit(f"{images} images are too few: {CALIBRATION_IMAGES} calibrate, {selection} select, one remains")
    order = list(range(images))
    draws = random_words(SPLIT_SEED)
    for last in range(images - 1, 0, -1):
        other = next(draws) * (last + 1) >> 64
        order[last], order[other] = order[other], order[last]
    return order[:CALIBRATION_IMAGES], order[CALIBRATION_IMAGES:CALIBRATION_IMAGES + selection]


def random_words(seed):
    """Step 0 of bitloop's generator (`quant/src/rng.rs`): xoshiro256++ of Blackman and Vigna, seeded by splitmix64."""
    words = splitmix(seed ^ next(splitmix(0)))
    a, b, c, d = (next(words) for _ in range(4))
    while True:
        yield (rotated((a + d) & WORD, 23) + a) & WORD
        shifted = b << 17 & WORD
        c, d = c ^ a, d ^ b
        b, a = b ^ c, a ^ d
        c, d = c ^ shifted, rotated(d, 45)


def rotated(word, bits):
    return (word << bits | word >> 64 - bits) & WORD


def splitmix(state):
    while True:
        state = (state + 0x9e3779b97f4a7c15) & WORD
        word = (state ^ state >> 30) * 0xbf58476d1ce4e5b9 & WORD
        word = (word ^ word >> 27) * 0x94d049bb133111eb & WORD
        yield word ^ word >> 31
