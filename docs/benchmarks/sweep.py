"""Compares a sweep at 4 bits: the time of a config in bitloop, in AIMET's simulator and in PyTorch, and what is decided.

With bitloop the order of turns is: its whole single sweep, half of AIMET's configs, its sweep again, the other half, its
sweep again, and its pairs. AIMET gets the encodings of the first of these sweeps, and the same images and labels.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import decisions
import material
import tables
from turns import PIXEL_DEVIATION, PIXEL_MEAN, Order, Worker, described, import_model, save_network

SWEEP_BITS, BASELINE_BITS = 4, 8
AGAIN = "AIMET in its other layout"
EXPERIMENT = """version: 1
name: sweep-{network}
numerics: exact
model: {{ checkpoint: {model} }}
data:
  idx: {{ images: {images}, labels: {labels} }}
  calibration: {calibration}
  selection: {selection}
  seed: {seed}
quantization:
  weights: {{ bits: [{bits}], scheme: symmetric, granularity: per_channel, calibration: min_max }}
  activations: {{ bits: [{bits}], scheme: asymmetric, calibration: min_max }}
  baseline: {baseline}
stages:
  - sensitivity: {{ single: all }}
"""


def add_arguments(group):
    group.add_argument("--configs", type=int, default=12, help="that are timed, spread over the depth")
    group.add_argument("--images", type=int, default=2000, help="on which a config is evaluated")
    group.add_argument("--pair-images", type=int, default=256, help="on which bitloop evaluates pairs; 0 leaves them out")
    group.add_argument("--decisions", type=count_or_all, default=0, metavar="all|N",
                       help="configs whose losses are compared beside the timed ones, spread over the depth")
    group.add_argument("--again", action="store_true",
                       help="compares AIMET also with itself in its slower memory layout, which sums in another order")
    group.add_argument("--checkpoint", type=Path, help="trained weights; seeded ones if not given")
    group.add_argument("--data", type=Path, nargs=2, metavar=("IMAGES", "LABELS"),
                       help="IDX files for the trained network; random images if not given, for any other")


def count_or_all(text):
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError("write `all` or a number")
    return text if text == "all" else int(text)


def compare(settings):
    if (settings.checkpoint is None) != (settings.data is None):
        raise SystemExit("--checkpoint and --data go together")
    rows = []
    for threads in settings.threads:
        for network, size, batch in settings.cases:
            rows.append(sweep_case(settings, Order(settings, network, size, batch, threads)))
            (settings.out / "sweep.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(tables.sweep(rows, settings))


def sweep_case(settings, order):
    """All turns of one case: per rival and for bitloop a list of measurements, and what they decide."""
    bitloop = Bitloop(settings, order) if settings.bitloop else None
    runs = [bitloop.evaluate(points=1)] if bitloop else []
    order.material = str(bitloop.write_material(runs[0])) if bitloop else None
    workers = {rival: Worker(settings, rival, order) for rival in settings.rivals if rival != "torchscript"}
    points = max([worker.points for worker in workers.values()] + [run["configs"] for run in runs])
    chosen = spread(points, settings.configs)
    turns = {rival: [] for rival in workers}
    for number, point in enumerate(chosen):
        if bitloop and number == len(chosen) // 2:
            runs.append(bitloop.evaluate(points=1))
        for rival, worker in workers.items():
            turns[rival].append(worker.ask({"point": point, "images": settings.images}))
            say(f"{rival}, point {point}: {turns[rival][-1]['wall_s']:.2f} s")
    more = {}
    if bitloop:
        runs.append(bitloop.evaluate(points=1))
        more["singles"] = [without_results(run) for run in runs]
        more["pairs"] = without_results(bitloop.evaluate(points=2)) if settings.pair_images else None
        if "aimet" in workers:
            more["decisions"] = decided(settings, workers["aimet"], turns["aimet"], runs[0]["results"])
    return {**described(order, workers, turns), "points": points, **more}


def say(line):
    print(line, file=sys.stderr, flush=True)


def decided(settings, worker, turns, results):
    """What bitloop and AIMET find about the same configs; with `--again` also AIMET in its other layout."""
    known = {turn["point"]: turn for turn in turns}
    wanted = worker.points if settings.decisions == "all" else settings.decisions
    points = sorted({*known, *spread(worker.points, wanted)})
    names = [result["lowered"][0]["point"] for result in results]

    def found(layout, known):
        answers = {point: known.get(point) or worker.ask({"point": point, "images": settings.images, "layout": layout})
                   for point in [None, *points]}
        return decisions.of_rival(answers, names, settings.images)

    compared = {"bitloop": decisions.of_bitloop(results, points), "AIMET": found("fastest", known)}
    return {**compared, AGAIN: found("other", {})} if settings.again else compared


def spread(count, wanted):
    """Positions spread evenly over `range(count)`, from the middle of each part.

    Weights and activations alternate, and so both get their turn.
    """
    wanted = min(count, wanted)
    return [(2 * index + 1) * count // (2 * wanted) for index in range(wanted)]


def without_results(run):
    return {key: value for key, value in run.items() if key != "results"}


class Bitloop:
    """The program, with an experiment on the network, started anew for each turn."""

    def __init__(self, settings, order):
        self.settings, self.order = settings, order
        self.command = settings.bitloop.split()
        self.turns = 0
        self.channels = 1 if settings.checkpoint else 3
        state = settings.checkpoint or save_network(settings, order)
        self.model = import_model(settings, order, state, self.channels)
        self.images, self.labels = settings.data or self.write_images()
        self.experiment = self.write_experiment()

    def write_images(self):
        """Random images; their classes are what the float network takes them for, so that drops mean something."""
        import networks

        settings, order = self.settings, self.order
        count = material.CALIBRATION_IMAGES + settings.images + 1
        pixels = material.random_images(count, order.size, PIXEL_MEAN, PIXEL_DEVIATION)
        network = networks.build(order.network, order.size, order.small_strides)
        classes = networks.classes(network, (pixels / material.BYTE_MAX - PIXEL_MEAN) / PIXEL_DEVIATION)
        images, labels = (settings.out / f"{order.network}_{order.size}_{part}.idx" for part in ("images", "labels"))
        material.write_idx(images, pixels)
        material.write_idx(labels, classes)
        return images, labels

    def write_experiment(self):
        path = self.settings.out / f"{self.order.network}_{self.order.size}.yaml"
        path.write_text(EXPERIMENT.format(
            network=self.order.network, model=self.model.resolve(), images=self.images.resolve(),
            labels=self.labels.resolve(), calibration=material.CALIBRATION_IMAGES, selection=self.settings.images,
            seed=material.SPLIT_SEED, bits=SWEEP_BITS, baseline=BASELINE_BITS))
        return path

    def evaluate(self, points):
        """Every config that lowers so many points: times of all together and of some alone, and the results."""
        images = self.settings.images if points == 1 else self.settings.pair_images
        output = subprocess.run(
            [*self.command, "bench", "sweep", self.experiment, "--points", str(points), "--images", str(images), "--alone",
             str(self.settings.configs), "--threads", str(self.order.threads), "--repetitions", "1", "--output", "json"],
            check=True, stdout=subprocess.PIPE, text=True).stdout
        # Kept as it comes, so that an interrupted comparison is not lost.
        self.turns += 1
        (self.settings.out / f"{self.order.network}_{self.order.size}_turn_{self.turns}.json").write_text(output)
        run = json.loads(output)
        say(f"bitloop, {run['configs']} configs: {run['s_per_config']:.3f} s each, {run['s_per_config_alone']:.3f} s alone")
        return run

    def write_material(self, run):
        """What a rival needs to evaluate the same configs on the same images."""
        images = material.read_idx(self.images)
        if images.shape[1:] != (self.order.size, self.order.size):
            raise SystemExit(f"{self.images} has images of {images.shape[1]}x{images.shape[2]}, the case is {self.order.size}")
        calibration, selection = material.split(len(images), self.settings.images)
        checkpoint = str(self.settings.checkpoint.resolve()) if self.settings.checkpoint else None
        described = {"checkpoint": checkpoint, "channels": self.channels, "mean": PIXEL_MEAN, "deviation": PIXEL_DEVIATION,
                     "images": str(self.images), "labels": str(self.labels), "calibration": calibration,
                     "selection": selection, "points": self.points(run)}
        path = self.settings.out / f"{self.order.network}_{self.order.size}_material.json"
        path.write_text(json.dumps(described) + "\n")
        return path

    def points(self, run):
        """The points of a single sweep in graph order, with both encodings and the number of their values."""
        output = subprocess.run([*self.command, "check", self.experiment, "--output", "json"], check=True,
                                stdout=subprocess.PIPE, text=True).stdout
        values = {point["name"]: point["elements"] for point in json.loads(output)["points"]}
        lowered = [result["lowered"][0] for result in run["results"]]
        return [{**point, "values": values[point["point"]]} for point in lowered]
