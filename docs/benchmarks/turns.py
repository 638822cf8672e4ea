"""What both comparisons need: the order of a measurement, the processes that carry it out, and the networks' files."""

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHIPPED_FILE = HERE.parents[1] / "configs" / "quickstart" / "convblock.safetensors"
# Mean and standard deviation of pixels, those of docs/experiments/ptq_chain.
PIXEL_MEAN, PIXEL_DEVIATION = 0.2860, 0.3530
# Larger images keep the published strides.
SMALL_SIZE_MAX = 64


class Order:
    """What is measured: a network, its images and the threads."""

    def __init__(self, settings, network, size, batch, threads):
        self.network, self.size, self.batch, self.threads = network, size, batch, threads
        self.small_strides = size <= SMALL_SIZE_MAX and settings.strides == "small-images"
        # The file of a sweep's images, labels and encodings; without it images are random.
        self.material = None
        # Whether a training's network has quantizers.
        self.quantized = getattr(settings, "quantized", False)

    def strides(self):
        return "small-images" if self.small_strides else "published"

    def for_rival(self, rival):
        return json.dumps({"rival": rival, "shipped": str(SHIPPED_FILE), **vars(self)})


class Worker:
    """A process of rivals.py or trainers.py. It is quiet except when asked."""

    def __init__(self, settings, rival, order, script="rivals.py"):
        threads = str(order.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        # AIMET says hundreds of lines about every network.
        self.log = settings.out / f"{rival}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, HERE / script, order.for_rival(rival)], text=True,
                                            bufsize=1, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log)
        ready = self.answer()
        self.variant, self.torch, self.points = ready["variant"], ready["torch"], ready.get("points")

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a rival ended; {self.log} has what it said")
        return json.loads(line)

    def end(self):
        """Ends the process; returns what the rival chose to be."""
        self.process.stdin.close()
        self.process.wait()
        return self.variant


def described(order, workers, turns):
    """The measurements with what is needed to read them later; ends the workers."""
    torch = next((worker.torch for worker in workers.values()), "none")
    variants = {rival: worker.end() for rival, worker in workers.items()}
    return {**vars(order), "date": str(datetime.date.today()), "cpu": cpu_model(), "torch": torch, "variants": variants,
            "turns": turns}


def cpu_model():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, {os.cpu_count()} cores"


def save_network(settings, order):
    """Writes the seeded network's weights; returns the file."""
    # Only here and in the workers: parsing arguments should not wait for PyTorch.
    import networks

    name = f"{order.network}_{order.size}{'_small' if order.small_strides else ''}.pth"
    networks.save_state(networks.build(order.network, order.size, order.small_strides), settings.out / name)
    return settings.out / name


def import_model(settings, order, state, channels):
    """The model file that bitloop makes of PyTorch weights, written into the folder of the comparison."""
    model = settings.out / Path(state).with_suffix(".safetensors").name
    subprocess.run([*settings.bitloop.split(), "import", state, "--architecture", order.network, "--strides",
                    order.strides(), "--input", f"{channels}x{order.size}x{order.size}", "--mean", str(PIXEL_MEAN), "--std",
                    str(PIXEL_DEVIATION), "--out", model], check=True, stdout=subprocess.DEVNULL)
    return model
