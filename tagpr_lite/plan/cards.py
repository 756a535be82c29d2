"""python -m tagpr_lite.plan.cards [--cards 1,2,4,8] [--models Qwen3-4B,Qwen3-8B] [--on H100] [key=value ...]

Says what a run would take on several cards of one machine: hours, what each card holds, what it costs, and
where the time goes. No GPU, no weights, no network. It is arithmetic: nothing of it was measured on several
cards. The scheme, the parts of the time and what is left out: plan/many_cards.py. Prompts are taken to be as
long as the settings allow, as in python -m tagpr_lite.plan.
"""
from __future__ import annotations

import argparse
import json
import math

from .. import config as cfg
from ..config import UserError
from ..runs import guard
from .__main__ import longest_load
from .layers import GIB
from .many_cards import PARTS, Line, Machine, line_of
from .shapes import shape_of
from .times import stated_rates

QWEN3 = "Qwen3-0.6B,Qwen3-1.7B,Qwen3-4B,Qwen3-8B,Qwen3-14B,Qwen3-32B"
MOST_CARDS = 4096
# The options with a number: (its name, its default, what it is). The defaults are our assumptions.
NUMBERS = (("price", 2.0, "price of a card for an hour, in any currency; 2 is an example and no offer"),
           ("link", 10.0, "GB/s that a card sends to the next one; 10 is what we assume of PCIe"),
           ("disk", 1.0, "GB/s at which weights are read; an assumption"),
           ("rest", 10.0, "minutes of the steps without a model, prepare, tag and report; an assumption"))


def main(args: argparse.Namespace) -> None:
    cards = card_counts(args.cards)
    for name, _, _ in NUMBERS:
        value = getattr(args, name)
        least = 0 if name in ("price", "rest") else 1e-9
        if not least <= value < math.inf:
            raise UserError(f"--{name} {value}: a positive number")
    config = cfg.load(args.preset, args.settings)
    shapes = [shape_of(name.strip()) for name in args.models.split(",")]
    machine = Machine(stated_rates(args.on), args.link * 1e9, args.disk * 1e9, args.rest * 60)
    load = longest_load(config)
    lines = [line_of(shape, config, load, count, machine) for shape in shapes for count in cards]
    if args.json:
        print(json.dumps([as_json(line, args.price) for line in lines], indent=1))
        return
    print(f"{machine.rates.source} at {args.price:g} an hour (an example), link {args.link:g} GB/s, disk "
          f"{args.disk:g} GB/s, {args.rest:g} min without a model; preset {args.preset}; not measured\n")
    for text in table(lines, args.price):
        print(text)


def card_counts(words: str) -> list[int]:
    """The numbers of cards, "1,2,4,8". UserError: no such words."""
    parts = [part.strip() for part in words.split(",")]
    if not all(part.isdecimal() and len(part) <= 4 and 1 <= int(part) <= MOST_CARDS for part in parts):
        raise UserError(f"--cards {words}: numbers of cards from 1 to {MOST_CARDS}, such as 1,2,4,8")
    return [int(part) for part in parts]


def cost_of(line: Line, price: float) -> float:
    """What the run costs: every card is paid for as long as the run lasts."""
    return line.seconds / 3600 * line.cards * price


def as_json(line: Line, price: float) -> dict:
    """The line with bytes, seconds and the currency of the price."""
    return {"model": line.model, "cards": line.cards, "peak": line.peak, "seconds": round(line.seconds, 1),
            "cost": round(cost_of(line, price), 2), "bottleneck": line.bottleneck,
            "parts": {part: round(took, 1) for part, took in line.parts.items()}}


def table(lines: list[Line], price: float) -> list[str]:
    """Markdown: a row a line. The parts are shares of the time in per cent."""
    heads = ("model", "cards", "GiB a card", "hours", "cost", *(f"{part}, %" for part in PARTS), "bottleneck")
    rows = [heads]
    for line in lines:
        shares = [f"{100 * took / line.seconds:.0f}" for took in line.parts.values()]
        rows.append((line.model, str(line.cards), f"{line.peak / GIB:.1f}", f"{line.seconds / 3600:.1f}",
                     f"{cost_of(line, price):.0f}", *shares, line.bottleneck))
    texts = ["| " + " | ".join(row) + " |" for row in rows]
    return [texts[0], "|---" * len(heads) + "|", *texts[1:]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.plan.cards", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", default="1,2,4,8", help="numbers of cards")
    parser.add_argument("--models", default=QWEN3, help="known models, or folders with config.json")
    parser.add_argument("--on", default="4090", help="a card whose maker's rates give the times")
    parser.add_argument("--preset", default="gpu", help="the settings: gpu, paper, or a YAML file")
    for name, default, about in NUMBERS:
        parser.add_argument(f"--{name}", type=float, default=default, help=about)
    parser.add_argument("--json", action="store_true", help="one JSON list instead of the table")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see python -m tagpr_lite.config")
    args = parser.parse_intermixed_args()
    guard(lambda: main(args), debug=args.debug)
