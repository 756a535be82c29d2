"""A run's model for other programs: an adapter that peft loads, or the whole model, with a model card.

    python -m tagpr_lite.export --run results/cpu --stage explore --to adapter
    python -m tagpr_lite.export --run results/cpu --stage explore --to model --merge
    python -m tagpr_lite.export --run results/cpu --stage explore --to model --merge dense

--merge writes the base in 16 bits with the adapter merged in. An adapter that was trained over NF4 fits the
values that NF4 dequantises to, and these are what it is merged into. `dense` takes the base's original
weights instead, over which its outputs differ. Before anything appears, the export is loaded as other
programs load it. It answers --check dev questions of the run, and its tokens are compared with the run's.
"""
from __future__ import annotations

from ..runs.commands import begin_command
from ..runs.stopping import STOPPED_SIMPLY

if __name__ == "__main__":  # before the imports that are slow: Ctrl-C within them is one line
    begin_command(STOPPED_SIMPLY)

import argparse
import os
from dataclasses import replace
from pathlib import Path

from ..answering.answerer import Answerer
from ..answering.run import FinishedRun, open_run, tell_of_other_base
from ..config import UserError
from ..engine.location import find
from ..runs import guard, whole_folder, write_text
from ..runs.steps import refuse_unfinished
from . import agreement, card, weights

READS = ("data", "eval")  # of the run, for the questions and the card
NF4, DENSE = "nf4", "dense"
BITS = {NF4: 4, DENSE: 32}
KINDS = {"": "the adapter", NF4: "the whole model, the adapter merged into the values of NF4",
         DENSE: "the whole model, the adapter merged into the base's original weights"}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.export", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("--stage", help="sft, guided or explore; the last one that is there")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="a new folder")
    parser.add_argument("--merge", nargs="?", const=NF4, default="", choices=[NF4, DENSE],
                        help="the whole model; nf4 unless said otherwise")
    parser.add_argument("--check", type=int, default=8, metavar="N",
                        help="dev questions whose tokens are compared; 0: none")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_args(words)
    guard(lambda: export(args.run, args.stage, args.to, args.merge, args.check), debug=args.debug)


def export(folder: Path, stage: str | None, to: Path, merge: str, count: int) -> None:
    """Writes the export of a run's stage and prints how far it agrees with the run. merge: nf4, dense, or "":
    the adapter."""
    # 1. What cannot be done is refused before anything is loaded.
    run = open_run(folder, stage, READS)
    refuse_unfinished(run.folder, "export", [f"{run.stage}/adapter", *READS])
    refuse_target(to)
    if merge == NF4 and run.config.model.bits != BITS[NF4]:
        raise UserError(f"{run.folder} has trained its adapters over the dense base "
                        f"(model.bits={run.config.model.bits}): say --merge dense")
    if count < 0:
        raise UserError(f"--check {count}: a number of questions, or 0")
    tell_of_other_base(run)

    # 2. The folder appears when all of it is there, the comparison included.
    run = with_model(run, vram=0.0)  # the run's budget is none of the export's
    with whole_folder(to) as beside:
        facts = write(run, merge, beside, count)
        write_text(beside / "README.md", card.render(run, facts))
        weights.share(beside)
    print(f"{run.stage} of {run.folder} is in {to}: {KINDS[merge]}")
    print(f"  {facts.compared}")


def refuse_target(to: Path) -> None:
    """UserError: something is there already."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to} exists and is not an empty folder; choose another --to")
    above = next(folder for folder in to.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"{to} cannot be made: {above} cannot be written to; choose another --to")


def with_model(run: FinishedRun, **changes) -> FinishedRun:
    """The run with other settings of its model."""
    return replace(run, config=replace(run.config, model=replace(run.config.model, **changes)))


def write(run: FinishedRun, merge: str, folder: Path, count: int) -> card.Facts:
    """Writes the weights and compares them; returns what the card says of both."""
    settings, base = run.config.model, find(run.config.model)
    answerer = Answerer(run)
    tokenizer, room = answerer.tokenizer, answerer.room
    probe = agreement.probe_of(answerer, count)
    of_run = agreement.tokens_of_run(answerer, probe) if count else []

    # The adapter is merged over the weights that the run has, unless other ones are asked for.
    if merge and BITS[merge] != settings.bits:
        del answerer  # two models need not fit at one time
        answerer = Answerer(with_model(run, bits=BITS[merge]))
    if merge:
        dtype = weights.words(weights.write_merged(answerer.model, tokenizer, base, folder))
    else:
        dtype = ""
        weights.write_adapter(run.adapter, folder)
    del answerer
    if not count:
        return card.Facts(merge, dtype, room, tokenizer)

    exported = agreement.load_plainly(folder, base, is_adapter=not merge, in_nf4=settings.bits == BITS[NF4])
    of_export = agreement.tokens_of_export(exported, probe)
    found = agreement.compare(of_run, of_export, agreement.where_computed(exported))
    return card.Facts(merge, dtype, room, tokenizer, found)


if __name__ == "__main__":
    main()
