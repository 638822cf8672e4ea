"""Compares bitloop's evaluation with PyTorch's and with AIMET's simulator: the same networks, taking turns.

  compare.py speed    images per second in float and at W8A8, as Markdown tables with ratios
  compare.py sweep    time per config of a single sweep at 4 bits, in AIMET's simulator and in PyTorch's float network
  compare.py networks writes the networks as .pth files

Every rival is a process that keeps its network and waits for its turn. A round gives each of them a turn, so all see
the same machine; medians and ratios are over rounds. README.md beside this file says what is compared and how.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import tables

HERE = Path(__file__).resolve().parent
SHIPPED_FILE = HERE.parents[1] / "configs" / "quickstart" / "convblock.safetensors"
# Network, size of the image, batch.
CASES = [
    ("mobilenet_v2", 32, 64), ("mobilenet_v2", 32, 256), ("mobilenet_v2", 224, 16), ("mobilenet_v2", 224, 32),
    ("resnet18", 32, 64), ("resnet18", 32, 256), ("resnet18", 224, 16), ("resnet18", 224, 32),
    ("shufflenet_v2_x1_0", 32, 64), ("shufflenet_v2_x1_0", 32, 256),
    ("shufflenet_v2_x1_0", 224, 16), ("shufflenet_v2_x1_0", 224, 32),
    ("convblock", 28, 64), ("convblock", 28, 256),
]
SHIPPED = "convblock"
# Larger images keep the published strides.
SMALL_SIZE_MAX = 64
RIVALS = ("pytorch", "torchscript", "aimet")
# Repetitions within a turn of bitloop, of which it takes the median.
REPETITIONS = 3
# Batches of a rival that bitloop evaluates in each of them; it cuts its own blocks.
BATCHES = 8


def main():
    settings = arguments()
    settings.out.mkdir(parents=True, exist_ok=True)
    {"speed": compare_speed, "sweep": compare_sweep, "networks": write_networks}[settings.what](settings)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "sweep", "networks"))
    parser.add_argument("--bitloop", metavar="COMMAND", help="the program, split at spaces; left out if not given")
    parser.add_argument("--cases", nargs="+", metavar="NETWORK:SIZE:BATCH", type=case, default=CASES)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; medians are over them")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--strides", choices=("small-images", "published"), default="small-images",
                        help=f"of networks for images up to {SMALL_SIZE_MAX} pixels wide")
    parser.add_argument("--configs", type=int, default=12, help="of the sweep, spread over the depth")
    parser.add_argument("--images", type=int, default=2000, help="on which the sweep evaluates a config")
    parser.add_argument("--out", type=Path, default=Path("compared"), help="folder for networks and the measurements")
    return parser.parse_args()


def case(text):
    name, size, batch = text.split(":")
    return name, int(size), int(batch)


def compare_speed(settings):
    rows = []
    for threads in settings.threads:
        for network, size, batch in settings.cases:
            measured = measure_case(settings, Order(settings, network, size, batch, threads))
            rows.append(measured)
            print(tables.progress(measured), file=sys.stderr)
            # Written as they come, so that an interrupted comparison is not lost.
            (settings.out / "speed.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(tables.speed(rows, settings))


class Order:
    """What is measured: a network, its images and the threads."""

    def __init__(self, settings, network, size, batch, threads):
        self.network, self.size, self.batch, self.threads = network, size, batch, threads
        self.small_strides = size <= SMALL_SIZE_MAX and settings.strides == "small-images"

    def for_rival(self, rival):
        return json.dumps({"rival": rival, "shipped": str(SHIPPED_FILE), **vars(self)})


def measure_case(settings, order):
    """All turns of one case: per name a list of measurements, one a round."""
    workers = {rival: Worker(settings, rival, order) for rival in settings.rivals}
    bitloop = Bitloop(settings, order) if settings.bitloop else None
    turns = {}
    for _ in range(settings.rounds):
        for rival, worker in workers.items():
            turns.setdefault(rival, []).append(worker.ask({"seconds": settings.seconds}))
        if bitloop:
            for name, measurement in bitloop.turn().items():
                turns.setdefault(name, []).append(measurement)
    return described(order, workers, turns)


class Worker:
    """A process of rivals.py. It is quiet except when asked."""

    def __init__(self, settings, rival, order):
        threads = str(order.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        # AIMET says hundreds of lines about every network.
        self.log = settings.out / f"{rival}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([sys.executable, HERE / "rivals.py", order.for_rival(rival)], text=True,
                                            bufsize=1, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log)
        ready = self.answer()
        self.variant, self.torch = ready["variant"], ready["torch"]

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


class Bitloop:
    """The program, started anew for each turn; loading and calibrating are not part of its figures."""

    def __init__(self, settings, order):
        self.command = settings.bitloop.split()
        self.order = order
        self.model = bitloop_model(settings, order)

    def turn(self):
        order = self.order
        output = subprocess.run(
            [*self.command, "bench", "eval", "--model", self.model, "--images", str(order.batch * BATCHES),
             "--threads", str(order.threads), "--repetitions", str(REPETITIONS), "--output", "json"],
            check=True, stdout=subprocess.PIPE, text=True).stdout
        rows = json.loads(output).get("rows")
        if rows is None:
            raise SystemExit("this bitloop's `bench eval` prints no rows, a newer one is needed")
        return by_name(rows)


def by_name(rows):
    """Rows of bitloop under the names used here; W8A8 by exact integers, and other forms by their name."""
    named = {}
    for row in rows:
        measurement = {key: row[key] for key in ("images_per_s", "cpu_s_per_image")}
        if row["numerics"] == "float" and row["bits"] == "float":
            named[tables.FLOAT] = measurement
        elif row["bits"].lower() == "w8a8":
            named[tables.INTEGER if row["numerics"] == "exact" else f"{tables.INTEGER} {row['numerics']}"] = measurement
    return named


def bitloop_model(settings, order):
    """The model file that bitloop makes of the network that the rivals build."""
    if order.network == SHIPPED:
        return SHIPPED_FILE
    state = save_network(settings, order)
    model = state.with_suffix(".safetensors")
    strides = "small-images" if order.small_strides else "published"
    subprocess.run([*settings.bitloop.split(), "import", state, "--architecture", order.network, "--strides", strides,
                    "--input", f"3x{order.size}x{order.size}", "--out", model], check=True, stdout=subprocess.DEVNULL)
    return model


def save_network(settings, order):
    # Only here and in the workers: parsing arguments should not wait for PyTorch.
    import networks

    name = f"{order.network}_{order.size}{'_small' if order.small_strides else ''}.pth"
    networks.save_state(networks.build(order.network, order.size, order.small_strides), settings.out / name)
    return settings.out / name


def write_networks(settings):
    for network, size in sorted({(network, size) for network, size, _ in settings.cases if network != SHIPPED}):
        print(save_network(settings, Order(settings, network, size, 1, 1)))


def compare_sweep(settings):
    """Times the same configs in AIMET's simulator and, for each, PyTorch's float network."""
    rows = []
    for threads in settings.threads:
        for network, size, batch in settings.cases:
            rows.append(sweep_case(settings, Order(settings, network, size, batch, threads)))
            (settings.out / "sweep.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(tables.sweep(rows, settings))


def sweep_case(settings, order):
    workers = {rival: Worker(settings, rival, order) for rival in settings.rivals if rival != "torchscript"}
    turns = {rival: [] for rival in workers}
    for index in range(settings.configs):
        for rival, worker in workers.items():
            turns[rival].append(worker.ask({"config": index, "of": settings.configs, "images": settings.images}))
    return described(order, workers, turns)


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


if __name__ == "__main__":
    main()
