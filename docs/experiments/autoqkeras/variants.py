"""Writes an experiment that trains once for each order of blocks, tuner and seed, all with as many epochs of trials.

Without the limit on the drop: networks trained so briefly seldom keep it, and those that do not are ranked by accuracy alone.
"""

import argparse
import copy
import pathlib

import yaml

IMAGES, TRIALS, EPOCHS = 10000, 16, 2
# Begins with more trials of one epoch, of which the better half goes on: as many epochs in all.
ASHA = {"mode": "asha", "max_trials": 16, "min_epochs": 1, "max_epochs": 4, "factor": 2, "in_flight": 4}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("variants"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    base = yaml.safe_load(arguments.experiment.read_text())
    checkpoint = arguments.experiment.parent / base["model"]["checkpoint"]
    base["model"]["checkpoint"] = str(checkpoint.resolve())
    base["data"]["training"] = IMAGES
    for name, change in VARIANTS.items():
        for seed in range(arguments.seeds):
            experiment = variant(base, f"{name}-{seed}", change, seed)
            (arguments.out / f"{name}-{seed}.yaml").write_text(yaml.safe_dump(experiment, sort_keys=False, width=1000))


def variant(base, name, change, seed):
    experiment = copy.deepcopy(base)
    experiment["name"] = name
    stage = experiment["stages"][0]["autoqkeras"]
    del stage["fine_tuning"], stage["constraints"]
    stage |= {"max_trials": TRIALS, "seed": seed}
    stage["training"] |= {"epochs": EPOCHS, "patience": EPOCHS, "seed": seed}
    change(stage)
    return experiment


def blocks(order):
    def change(stage):
        stage["schedule_block"] = order
    return change


def whole(tuner):
    def change(stage):
        del stage["blocks"], stage["schedule_block"]
        stage |= tuner
        if tuner["mode"] == "asha":
            del stage["training"]["epochs"], stage["training"]["patience"]
    return change


VARIANTS = {
    "blocks-sequential": blocks("sequential"),
    "blocks-cost": blocks("cost"),
    "whole-random": whole({"mode": "random"}),
    "whole-bayesian": whole({"mode": "bayesian"}),
    "whole-asha": whole(ASHA),
}

if __name__ == "__main__":
    main()
