"""Writes an experiment file once for every predictor, objective and split of the images that are to be compared.

Everything measured within the limits counts in a search, also what an earlier search of the same experiment measured. So
predictors that are compared at equal measurements need an experiment each. With one data directory they share the
sensitivity stage: a measurement is taken once, whichever experiment wants it.

The base file must state `name`, `seed`, the checkpoint and, in every search, `predictor` and `objective`, each on a line
of its own. Files are named BASE-PREDICTOR-OBJECTIVE-SEED.yaml, with `--bits` BASE-PREDICTOR-OBJECTIVE-SEED-BITS.yaml.
"""

import argparse
import itertools
import re
from pathlib import Path


def main():
    settings = arguments()
    base = settings.base.read_text()
    settings.out.mkdir(parents=True, exist_ok=True)
    for values in itertools.product(settings.predictors, settings.objectives, settings.seeds):
        name = "-".join([settings.base.stem, *map(str, values)])
        text = variant(base, settings.base.parent, name, *values)
        if settings.bits:
            name, text = f"{name}-{settings.bits}", text.replace(f"name: {name}\n", f"name: {name}-{settings.bits}\n")
            text = re.sub(r"(\bbits: )\[.*?\]", rf"\g<1>[{settings.bits}]", text)
        (settings.out / f"{name}.yaml").write_text(text)
        print(name)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="experiment file")
    parser.add_argument("--out", type=Path, required=True, help="folder for the variants")
    parser.add_argument("--predictors", nargs="+", default=["auto", "published"])
    parser.add_argument("--objectives", nargs="+", default=["loss_increase", "top1_drop"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1], help="splits of the images")
    parser.add_argument("--bits", type=int, help="the only candidate width, instead of the file's")
    return parser.parse_args()


def variant(text, folder, name, predictor, objective, seed):
    """The experiment with other settings; its checkpoint gets an absolute path, since the file moves."""
    for key, value in [("name", name), ("predictor", predictor), ("objective", objective), ("seed", seed)]:
        text = replaced(text, key, lambda _, value=value: str(value))
    return replaced(text, "checkpoint", lambda old: str((folder / old).resolve()))


def replaced(text, key, new):
    """The text with the values of a key changed; comments behind them are lost."""
    pattern = re.compile(rf"^(\s*(?:- )?{key}: )([^\s#]+).*$", re.MULTILINE)
    text, count = pattern.subn(lambda found: found[1] + new(found[2]), text)
    if count == 0:
        raise SystemExit(f"the experiment file has no line with `{key}:`")
    return text


if __name__ == "__main__":
    main()
