"""Writes an experiment that trains once for each order of blocks and each tuner, all with as many epochs of trials."""

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
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("variants"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    base = yaml.safe_load(arguments.experiment.read_text())
    checkpoint = arguments.experiment.parent / base["model"]["checkpoint"]
    base["model"]["checkpoint"] = str(checkpoint.resolve())
    base["data"]["training"] = IMAGES
    for name, change in VARIANTS.items():
        variant = copy.deepcopy(base)
        variant["name"] = name
        stage = variant["stages"][0]["autoqkeras"]
        stage.pop("fine_tuning")
        stage["max_trials"] = TRIALS
        stage["training"] |= {"epochs": EPOCHS, "patience": EPOCHS}
        change(stage)
        (arguments.out / f"{name}.yaml").write_text(yaml.safe_dump(variant, sort_keys=False, width=1000))


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
