"""A worker that holds one network in PyTorch or in AIMET's simulator and measures it whenever it is told to.

compare.py starts one per rival and lets them take turns. Orders come as JSON lines on standard input:
  {"seconds": S}                          how fast is it, over about S seconds
  {"config": I, "of": C, "images": N}     how long does config I take, of C of a single sweep, on N images
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

import networks

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
    tell(answers, {"variant": rival.variant, "torch": torch.__version__})
    with torch.inference_mode():
        for line in sys.stdin:
            request = json.loads(line)
            tell(answers, rival.measure(request["seconds"]) if "seconds" in request else measure_config(rival, request))


def tell(answers, answer):
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


class Rival:
    """A network and images for it, in the variant that turned out to be the fastest."""

    def __init__(self, order):
        shape = networks.input_shape(order["network"], order["size"])
        network = networks.build(order["network"], order["size"], order["small_strides"])
        if order["network"] == networks.SHIPPED:
            network.load(Path(order["shipped"]))
        # No rival computes batch norms: all of them get the same folded network.
        self.network = torch.fx.experimental.optimization.fuse(network)
        self.images = torch.randn(order["batch"], *shape)
        self.layout = torch.contiguous_format
        self.variant = self.prepare()

    def lay_out(self, layout):
        self.layout = LAYOUTS[layout]
        self.network.to(memory_format=self.layout)
        self.images = self.images.contiguous(memory_format=self.layout)

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
        """Evaluates so many images, the last batch cut; returns the class of each. Shape: (count,)."""
        classes, rest = [], count
        while rest > 0:
            classes.append(self.network(self.images[:rest]).argmax(1))
            rest -= len(self.images)
        return torch.cat(classes)


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

    def sweep_steps(self):
        return [("float", lambda: lambda: None)]


class Script(Rival):
    """PyTorch frozen and compiled by TorchScript, which hands weights to oneDNN in the layout that oneDNN prefers."""

    @torch.inference_mode()
    def prepare(self):
        self.network = torch.jit.optimize_for_inference(torch.jit.trace(self.network, self.images))
        for _ in range(COMPILE_BATCHES):
            self.network(self.images)
        return "traced"


class Simulator(Rival):
    """AIMET's QuantizationSimModel, W8A8, calibrated once on the images; the fastest of two layouts, weights quantized
    in every batch (as it comes) or once beforehand."""

    def prepare(self):
        # Importing it takes seconds and prints, and PyTorch's workers need none of it.
        from aimet_torch.model_preparer import prepare_model
        from aimet_torch.quantsim import QuantizationSimModel

        self.sim = QuantizationSimModel(prepare_model(self.network), dummy_input=self.images[:1],
                                        default_param_bw=BITS, default_output_bw=BITS)
        drop_quantizers_before_rectifiers(self.sim.model)
        with torch.no_grad():
            self.sim.compute_encodings(lambda model: model(self.images))
        self.network = self.sim.model
        self.float_weights = {name: (module.weight.detach().clone(), module.param_quantizers["weight"])
                              for name, module in weighted_modules(self.network)}
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
        return f"{best}, weights once (as it comes: {as_it_comes / times[best, 'weights once']:.2f} times as long)"

    def sweep_steps(self):
        """A step for each quantizer of the simulator: (name, sets it to few bits and returns what undoes that)."""
        steps = []
        for name, module in self.network.named_modules():
            if name in self.float_weights:
                steps.append((f"{name}.weight", lambda name=name, module=module: self.narrow_weight(name, module)))
            for quantizer in [*getattr(module, "input_quantizers", []), *getattr(module, "output_quantizers", [])]:
                if quantizer is not None:
                    steps.append((name, lambda quantizer=quantizer: narrow(quantizer)))
        return steps

    def narrow_weight(self, name, module):
        weight, quantizer = self.float_weights[name]
        undo_bits = narrow(quantizer)
        quantized = quantizer(weight).as_subclass(torch.Tensor)
        undo_bits()
        before = module.weight
        layout = {"memory_format": self.layout} if quantized.dim() == 4 else {}
        module.weight = nn.Parameter(quantized.contiguous(**layout), requires_grad=False)

        def undo():
            module.weight = before
        return undo


def narrow(quantizer):
    before = quantizer.bitwidth
    quantizer.bitwidth = SWEEP_BITS

    def undo():
        quantizer.bitwidth = before
    return undo


def weighted_modules(model):
    for name, module in model.named_modules():
        quantizers = getattr(module, "param_quantizers", {})
        if "weight" in quantizers and quantizers["weight"] is not None:
            yield name, module


def drop_quantizers_before_rectifiers(model):
    """Leaves one quantizer behind a convolution and its rectifier, as in bitloop.

    AIMET does so by itself except for depthwise convolutions, where it would simulate more than is compared.
    """
    modules = dict(model.named_modules())
    for node in model.graph.nodes:
        module = modules.get(node.target) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d) and len(node.users) == 1:
            (user,) = node.users
            follower = modules.get(user.target) if user.op == "call_module" else None
            if isinstance(follower, (nn.ReLU, nn.ReLU6)):
                module.output_quantizers[0] = None


def measure_config(rival, request):
    """Times one of `of` configs spread evenly over the depth. PyTorch's float network has one, evaluated each time."""
    steps = rival.sweep_steps()
    # From the middle of each part, so that weights and activations, which alternate, both get their turn.
    name, set_bits = steps[(2 * request["config"] + 1) * len(steps) // (2 * request["of"])]
    wall, cpu = time.perf_counter(), time.process_time()
    undo = set_bits()
    rival.evaluate(request["images"])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    undo()
    return {"points": len(steps), "point": name, "wall_s": wall, "cpu_s": cpu}


RIVALS = {"pytorch": Eager, "torchscript": Script, "aimet": Simulator}

if __name__ == "__main__":
    main()
