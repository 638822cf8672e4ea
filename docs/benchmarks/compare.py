"""Compares bitloop with PyTorch and with AIMET's simulator: the same networks, taking turns.

  compare.py speed    images per second in float and at W8A8, as Markdown tables with ratios
  compare.py sweep    time per config of a sweep at 4 bits, in bitloop, in AIMET's simulator and in PyTorch's float network
  compare.py train    images per second of training steps, in PyTorch and in bitloop; --quantized: of networks of 4 bits
  compare.py networks writes the networks as .pth files

Every rival is a process that keeps its network and waits for its turn. A round gives each of them a turn, so all see
the same machine; medians and ratios are over rounds. README.md beside this file says what is compared and how.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import sweep
import tables
from turns import SHIPPED_FILE, SMALL_SIZE_MAX, Order, Worker, described, import_model, save_network

# Network, size of the image, batch.
CASES = [
    ("mobilenet_v2", 32, 64), ("mobilenet_v2", 32, 256), ("mobilenet_v2", 224, 16), ("mobilenet_v2", 224, 32),
    ("resnet18", 32, 64), ("resnet18", 32, 256), ("resnet18", 224, 16), ("resnet18", 224, 32),
    ("shufflenet_v2_x1_0", 32, 64), ("shufflenet_v2_x1_0", 32, 256),
    ("shufflenet_v2_x1_0", 224, 16), ("shufflenet_v2_x1_0", 224, 32),
    ("convblock", 28, 64), ("convblock", 28, 256),
]
SHIPPED = "convblock"
# Network, size of the image, batch.
TRAINED = [(network, 28, 128) for network in ("plain", "bn", "depthwise", "convblock", "fashion_mnist")]
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TRAINED_FILES = {"convblock": CONFIGS / "train_fashion_mnist.yaml",
                 "fashion_mnist": CONFIGS / "autoqkeras" / "train_fashion_mnist.yaml"}
RIVALS = ("pytorch", "torchscript", "aimet")
# Repetitions within a turn of bitloop, of which it takes the median.
REPETITIONS = 3
# Batches of a rival that bitloop evaluates in each of them; it cuts its own blocks.
BATCHES = 8


def main():
    settings = arguments()
    settings.out.mkdir(parents=True, exist_ok=True)
    commands = {"speed": compare_speed, "sweep": sweep.compare, "train": compare_train, "networks": write_networks}
    commands[settings.what](settings)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "sweep", "train", "networks"))
    parser.add_argument("--bitloop", metavar="COMMAND", help="the program, split at spaces; left out if not given")
    parser.add_argument("--cases", nargs="+", metavar="NETWORK:SIZE:BATCH", type=case,
                        help="by default all of them")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; medians are over them")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a turn")
    parser.add_argument("--strides", choices=("small-images", "published"), default="small-images",
                        help=f"of networks for images up to {SMALL_SIZE_MAX} pixels wide")
    parser.add_argument("--quantized", action="store_true", help="train with QKeras's quantizers of 4 bits in place")
    sweep.add_arguments(parser.add_argument_group("of a sweep"))
    parser.add_argument("--out", type=Path, default=Path("compared"), help="folder for networks and the measurements")
    settings = parser.parse_args()
    settings.cases = settings.cases or (TRAINED if settings.what == "train" else CASES)
    return settings


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
    return import_model(settings, order, save_network(settings, order), channels=3)


def compare_train(settings):
    """Times training steps: forward, back and update."""
    rows = []
    for threads in settings.threads:
        for network, size, batch in settings.cases:
            order = Order(settings, network, size, batch, threads)
            order.small_strides = False
            worker = Worker(settings, "pytorch", order, "trainers.py")
            turns = {}
            for _ in range(settings.rounds):
                turns.setdefault("pytorch", []).append(worker.ask({"seconds": settings.seconds}))
                if settings.bitloop:
                    turns.setdefault(tables.trained(order.quantized), []).append(bitloop_steps(settings, order))
            rows.append(described(order, {"pytorch": worker}, turns))
            print(tables.progress(rows[-1]), file=sys.stderr)
            name = "train_quantized.json" if settings.quantized else "train.json"
            (settings.out / name).write_text(json.dumps(rows, indent=1) + "\n")
    print(tables.speed(rows, settings))


def bitloop_steps(settings, order):
    file = TRAINED_FILES.get(order.network)
    what = ["--training", file] if file else ["--network", order.network]
    what += ["--quantized"] if order.quantized else []
    output = subprocess.run(
        [*settings.bitloop.split(), "bench", "train", *what, "--batch", str(order.batch), "--threads", str(order.threads),
         "--repetitions", str(REPETITIONS), "--output", "json"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return {key: json.loads(output)[key] for key in ("images_per_s", "cpu_s_per_image")}


def write_networks(settings):
    for network, size in sorted({(network, size) for network, size, _ in settings.cases if network != SHIPPED}):
        print(save_network(settings, Order(settings, network, size, 1, 1)))


if __name__ == "__main__":
    main()
