#!/usr/bin/env python3
"""Build the corpus, train the sample model, export it and measure it.

    python3 train.py --work /somewhere/outside/the/repository

See README.md for what has to be installed first. Stages can be run one at a
time (`--stages data,train,export`); `--stages export --step N` exports an
intermediate checkpoint.
"""

import argparse
import json
from pathlib import Path

import torch

from training import data, export, loop
from training.model import Config

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the corpus and the checkpoints")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the exported model")
    parser.add_argument("--stages", default="data,train,export")
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=84.0, help="the run ends by itself within this time")
    parser.add_argument("--cooldown-at", type=int)
    parser.add_argument("--cooldown-steps", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--step", type=int, help="export this checkpoint, not the last")
    arguments = parser.parse_args()
    if (arguments.cooldown_at is None) != (arguments.cooldown_steps is None):
        parser.error("--cooldown-at and --cooldown-steps go together")

    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    stages = arguments.stages.split(",")
    if "data" in stages:
        print(json.dumps(data.build(arguments.work, arguments.seed, Config.vocab_size), indent=1))
    if "train" in stages:
        print(json.dumps(loop.train(arguments.work, arguments.seed, arguments.steps, arguments.minutes,
                                    arguments.cooldown_at, arguments.cooldown_steps), indent=1))
    if "export" in stages:
        print(json.dumps(export.export(arguments.work, arguments.out, arguments.step), indent=1))


if __name__ == "__main__":
    main()
