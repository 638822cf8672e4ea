"""A worker that holds one network in PyTorch or in AIMET's simulator and measures it whenever it is told to.

compare.py starts one per rival and lets them take turns. Orders come as JSON lines on standard input:
  {"seconds": S}                          how fast is it, over about S seconds
  {"point": I, "images": N}               how long does the config take that lowers point I alone (null: the baseline), on
                                          N images, and what does it give; with "layout": "other" in the slower layout
Answers go to the standard output as it was at the start, one JSON line each; everything a library prints goes to
standard error.
"""

import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.fx.experimental.optimization
from torch import nn

import material
import networks
import quantizers

LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}
# Batches by which the fastest variant is chosen, and seconds after which no further one begins; the quickest counts.
TRIAL_BATCHES, TRIAL_S = 5, 2.0
# The first batches of TorchScript profile and compile.
COMPILE_BATCHES = 3
BITS = 8
SWEEP_BITS = 4


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    rival = RIVALS[order["rival"]](order)
    tell(answers, {"variant": rival.variant, "torch": torch.__version__, "points": rival.points})
    with torch.inference_mode():
        for line in sys.stdin:
            tell(answers, answer(rival, json.loads(line)))


def answer(rival, request):
    if "seconds" in request:
        return rival.measure(request["seconds"])
    fastest = rival.layout
    if request.get("layout") == "other":
        rival.lay_out(next(layout for layout in LAYOUTS if layout != fastest))
    measured = measure_config(rival, request)
    rival.lay_out(fastest)
    return measured


def tell(answers, answer):
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


class Rival:
    """A network and images for it, in the variant that turned out to be the fastest."""

    # Configs of a sweep; a network without quantizers has one.
    points = 1

    def __init__(self, order):
        self.sweep = json.loads(Path(order["material"]).read_text()) if order["material"] else None
        # No rival computes batch norms: all of them get the same folded network.
        self.network = torch.fx.experimental.optimization.fuse(network_of(order, self.sweep))
        self.batch = order["batch"]
        if self.sweep:
            self.selection, self.labels = selected(self.sweep, "selection")
            self.images = self.selection[:self.batch]
        else:
            self.images, self.selection = torch.randn(self.batch, *networks.input_shape(order["network"], order["size"])), None
        self.layout = "default"
        self.variant = self.prepare()

    def lay_out(self, layout):
        self.layout = layout
        self.network.to(memory_format=LAYOUTS[layout])
        self.images = self.images.contiguous(memory_format=LAYOUTS[layout])
        if self.selection is not None:
            self.selection = self.selection.contiguous(memory_format=LAYOUTS[layout])

    @torch.inference_mode()
    def quickest_batch_s(self):
        # The first batch takes longer than all others.
        self.batch_s()
        times = [self.batch_s()]
        while len(times) < TRIAL_BATCHES and sum(times) < TRIAL_S:
            times.append(self.batch_s())
        return min(times)

    def batch_s(self):
        started = time.perf_counter()
        self.network(self.images)
        return time.perf_counter() - started

    def measure(self, seconds):
        """Evaluates the batch again and again; at least once."""
        batches, wall, cpu = 0, time.perf_counter(), time.process_time()
        while batches == 0 or time.perf_counter() - wall < seconds:
            self.network(self.images)
            batches += 1
        count = batches * len(self.images)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"images": count, "images_per_s": count / wall, "cpu_s_per_image": cpu / count}

    def evaluate(self, count):
        """Evaluates so many images, the last batch cut; returns the logits. Shape: (count, classes)."""
        logits = []
        for first in range(0, count, self.batch):
            last = min(first + self.batch, count)
            batch = self.images[:last - first] if self.selection is None else self.selection[first:last]
            logits.append(self.network(batch))
        return torch.cat(logits)

    def lower(self, point):
        """Sets the config that lowers a point; returns what undoes that."""
        return lambda: None


def network_of(order, sweep):
    if sweep and sweep["checkpoint"]:
        return networks.trained(order["network"], Path(sweep["checkpoint"]))
    network = networks.build(order["network"], order["size"], order["small_strides"])
    return network.load(Path(order["shipped"])) if order["network"] == networks.SHIPPED else network


def selected(sweep, part):
    """Normalized images and labels of a part. Shapes: (count, channels, height, width), (count,)."""
    chosen = sweep[part]
    pixels = torch.from_numpy(material.read_idx(sweep["images"])[chosen]).float() / material.BYTE_MAX
    images = ((pixels - sweep["mean"]) / sweep["deviation"])[:, None]
    labels = torch.from_numpy(material.read_idx(sweep["labels"])[chosen]).long()
    return images.repeat(1, sweep["channels"], 1, 1), labels


class Eager(Rival):
    """PyTorch as one writes it, in the faster of both layouts."""

    def prepare(self):
        times = {}
        for layout in LAYOUTS:
            self.lay_out(layout)
            times[layout] = self.quickest_batch_s()
        best = min(times, key=times.get)
        self.lay_out(best)
        return best


class Script(Rival):
    """PyTorch frozen and compiled by TorchScript, which hands weights to oneDNN in the layout that oneDNN prefers."""

    @torch.inference_mode()
    def prepare(self):
        self.network = torch.jit.optimize_for_inference(torch.jit.trace(self.network, self.images))
        for _ in range(COMPILE_BATCHES):
            self.network(self.images)
        return "traced"


class Simulator(Rival):
    """AIMET's QuantizationSimModel, W8A8, calibrated once on the images or with bitloop's encodings; the fastest of two
    layouts, weights quantized in every batch (as it comes) or once beforehand."""

    def prepare(self):
        # Importing it takes seconds and prints, and PyTorch's workers need none of it.
        from aimet_torch.model_preparer import prepare_model
        from aimet_torch.quantsim import QuantizationSimModel

        self.sim = QuantizationSimModel(prepare_model(self.network), dummy_input=self.images[:1],
                                        default_param_bw=BITS, default_output_bw=BITS)
        self.network = self.sim.model
        dropped = quantizers.drop_quantizers_before_rectifiers(self.network)
        self.calibrate()
        self.float_weights = {place.name: place.module.weight.detach().clone()
                              for place in self.places if place.kind == "weight"}
        best, longer = self.fastest()
        return (f"{best}, weights once (as it comes: {longer:.2f} times as long), {dropped} quantizers before rectifiers "
                "left out")

    def calibrate(self):
        images = selected(self.sweep, "calibration")[0] if self.sweep else self.images
        with torch.no_grad():
            self.sim.compute_encodings(lambda model: model(images))
        self.places = quantizers.places(self.network, self.images[:1])
        self.points = len(self.places)
        if self.sweep:
            self.take_encodings()

    @torch.no_grad()
    def take_encodings(self):
        """Replaces the encodings by bitloop's."""
        quantizers.check_correspondence(self.places, self.sweep["points"])
        for place, point in zip(self.places, self.sweep["points"]):
            if place.kind == "activation":
                quantizers.check_range(place, point["baseline"])
            for encoding in (point["encoding"], point["baseline"]):
                quantizers.set_encoding(place.quantizer, encoding)
                quantizers.check_grid(place.quantizer, encoding)

    def fastest(self):
        """Lays the network out as is fastest; returns that, and how many times as long the dearer way takes."""
        times = {}
        for folded in ("weights each batch", "weights once"):
            if folded == "weights once":
                self.sim.fold_param_quantizers()
            for layout in LAYOUTS:
                self.lay_out(layout)
                times[layout, folded] = self.quickest_batch_s()
        # Folding cannot be undone, and weights are quantized once in what follows; the dearer way is only reported.
        as_it_comes = min(times[layout, "weights each batch"] for layout in LAYOUTS)
        best = min(LAYOUTS, key=lambda layout: times[layout, "weights once"])
        self.lay_out(best)
        return best, as_it_comes / times[best, "weights once"]

    def lower(self, point):
        place = self.places[point]
        encoding = self.sweep["points"][point]["encoding"] if self.sweep else None
        undo_bits = quantizers.narrow(place.quantizer, SWEEP_BITS, encoding)
        if place.kind == "activation":
            return undo_bits
        quantized = place.quantizer(self.float_weights[place.name]).as_subclass(torch.Tensor)
        undo_bits()
        before = place.module.weight
        layout = {"memory_format": LAYOUTS[self.layout]} if quantized.dim() == 4 else {}
        place.module.weight = nn.Parameter(quantized.contiguous(**layout), requires_grad=False)

        def undo():
            place.module.weight = before
        return undo


def measure_config(rival, request):
    """Times a config and, with labels, says how many images it gets right and its mean cross-entropy."""
    wall, cpu = time.perf_counter(), time.process_time()
    undo = rival.lower(request["point"]) if request["point"] is not None else lambda: None
    logits = rival.evaluate(request["images"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    undo()
    return {"point": request["point"], "wall_s": wall, "cpu_s": cpu, **judged(rival, logits)}


def judged(rival, logits):
    if rival.selection is None:
        return {}
    labels, logits = rival.labels[:len(logits)], logits.as_subclass(torch.Tensor).double()
    return {"correct": int((logits.argmax(1) == labels).sum()),
            "loss": nn.functional.cross_entropy(logits, labels).item()}


RIVALS = {"pytorch": Eager, "torchscript": Script, "aimet": Simulator}

if __name__ == "__main__":
    main()
