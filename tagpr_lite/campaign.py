"""Several runs that differ in a few settings and in their seeds, and their scores side by side.

    python -m tagpr_lite.campaign learning                    one of campaigns/*.yaml, or a file of yours
    python -m tagpr_lite.campaign tags lamp.source=FOLDER     any key=value, for all its runs
    python -m tagpr_lite.campaign proof --cards 4             a run on each of four cards at a time

A run is the steps of run_all.sh with a folder of its own, results/<campaign>-<variant>-<seed>. So the command
may be stopped at any moment and goes on where it was, with as many cards as there are then. A run that fails
stops no other. What the command prints at the end, and writes to results/<campaign>.md, can be had at any
time with --table: the scores, and the differences between systems and between variants, tested over the
seeds. results/<campaign>.html shows the same and more as a page.
"""
from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import yaml

from . import config as cfg
from .config import UserError, is_plain_name
from .report import campaign_page, campaign_scores, figures, over_seeds
from .report.differences import read_answers
from .runs import guard, keep_memory, one_line, read_metrics, whole_folder, write_text
from .runs.places import Place, places_on_cards, places_on_cores
from .runs.side_by_side import DONE, FAILED, Job, run_all
from .runs.stopping import handle_signals
from .steps import STEPS

FOLDER = Path(__file__).parent / "campaigns"
# The keys of a campaign's file, what each is, and how an error says so.
SHAPE = (("name", str, "a word"), ("preset", str, "a preset's name"),
         ("seeds", list, "a list of whole numbers"), ("steps", list, "a list of steps"),
         ("share", bool, "true or false"),
         ("settings", dict, "a map of settings"))
END_OF_DOCUMENT = "...\n"
# Steps that write into what all runs share: models, official files, a teacher's answers. One run at a time
# does them, so that nothing is fetched or paid for twice, and tag.per_minute holds for all runs together.
ONE_AT_A_TIME = ("prepare", "tag")


def read(name: str) -> dict:
    """{name, preset, seeds, steps, share, settings, variants} of a campaign's file.

    name: one of campaigns/*.yaml, or the path of a file. variants: {name: its settings}.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise UserError(f"no campaign '{name}'; known: {known}, or a file")
    try:
        campaign = cfg.parse_yaml(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not YAML: {one_line(error)}") from None
    if not isinstance(campaign, dict) or not isinstance(campaign.get("variants"), dict):
        raise UserError(f"{path}: `variants` is missing, a map from a name to its settings")
    for key, kind, words in SHAPE:
        if key in campaign and not isinstance(campaign[key], kind):
            raise UserError(f"{path}: `{key}` should be {words}")
    if not campaign["variants"]:
        raise UserError(f"{path}: `variants` is empty")
    settings = [campaign.get("settings") or {}, *campaign["variants"].values()]
    if not all(isinstance(tree, dict | None) for tree in settings):
        raise UserError(f"{path}: settings are a map from a name to a value")
    seeds = campaign.get("seeds", [0])
    if not seeds or not all(type(seed) is int for seed in seeds):
        raise UserError(f"{path}: `seeds` should be a list of whole numbers")
    defaults = {"preset": "cpu", "seeds": [0], "steps": list(STEPS), "share": False, "settings": {}}
    campaign = defaults | campaign | {"name": path.stem}
    unknown_steps = [step for step in campaign["steps"] if step not in tuple(STEPS)]
    if unknown_steps:
        raise UserError(f"{path}: unknown step '{unknown_steps[0]}'; known: {', '.join(STEPS)}")
    return campaign


def runs(campaign: dict, overrides: list[str]) -> list[tuple[str, int, list[str]]]:
    """(variant, seed, the run's `key=value` words) of every run. Seeds are outermost: a campaign that is cut
    off has whole rounds of all variants.

    A later word wins: the campaign's settings, the variant's, the command line's, then seed and name.
    """
    planned = []
    for seed in campaign["seeds"]:
        for variant, settings in campaign["variants"].items():
            words = as_words(campaign["settings"]) + as_words(settings or {}) + overrides
            words += [f"seed={seed}", f"name={campaign['name']}-{variant}-{seed}"]
            planned.append((variant, seed, words))
    return planned


def as_words(settings: dict) -> list[str]:
    """A tree of settings as the words of a command line: {"lamp": {"k": 2}} gives ["lamp.k=2"]."""
    words = []
    for key, value in cfg.flatten(settings):
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
        # YAML ends a document that is a single number or word with a line of three dots.
        words.append(f"{key}={text.removesuffix(END_OF_DOCUMENT).strip()}")
    return words


def folders(campaign: dict, overrides: list[str]) -> list[Path]:
    """The folder of every run, in the order of `runs`."""
    return [cfg.load(campaign["preset"], words).folder for _, _, words in runs(campaign, overrides)]


# ---------------------------------------------------------------- running

class CampaignRun(Job):
    """One run of a campaign."""

    def __init__(self, name: str, steps: dict[str, list[str]], folder: Path, about: str):
        super().__init__(name, steps)
        self.folder, self.about = folder, about
        # The runs whose finished steps it may take over, itself among them, in their order.
        self.of_its_seed: list[CampaignRun] = [self]

    def source(self) -> CampaignRun:
        """The run that this one begins as a copy of: the first of its seed that has not failed. It may be
        this one, which then begins with nothing."""
        return next(run for run in self.of_its_seed if run.state != FAILED)

    def may_begin(self) -> bool:
        """A folder that is copied has to be at rest: its run has to be done."""
        source = self.source()
        return source is self or source.state == DONE or self.folder.exists()

    def begin(self, place: Place) -> list[str]:
        begin_with(self.source().folder, self.folder)
        return [f"{self.about}, {place.name}" if place.name else self.about]


def run(campaign: dict, overrides: list[str], places: list[Place] | None = None) -> list[CampaignRun]:
    """The campaign's steps of every run, each in a process of its own, as many runs at a time as there are
    places (None: one). Returns the runs that have failed."""
    jobs = planned_runs(campaign, overrides)
    run_all(jobs, places or places_on_cores(1), ONE_AT_A_TIME)
    return [job for job in jobs if job.state == FAILED]


def planned_runs(campaign: dict, overrides: list[str]) -> list[CampaignRun]:
    """The campaign's runs with the commands of their steps. UserError: a wrong setting, or two runs with one
    folder; so nothing is computed before it is said."""
    planned = runs(campaign, overrides)
    run_folders = folders(campaign, overrides)
    jobs, of_seeds = [], {}
    for number, ((variant, seed, words), folder) in enumerate(zip(planned, run_folders), 1):
        if folder in run_folders[:number - 1]:
            raise UserError(f"two runs of the campaign have the folder {folder}: a seed or a variant twice?")
        commands = {step: [sys.executable, "-m", STEPS[step].module, "--preset", campaign["preset"], *words]
                    for step in campaign["steps"]}
        about = f"[{campaign['name']}] run {number} of {len(planned)}: {variant}, seed {seed}"
        job = CampaignRun(f"{variant}-{seed}", commands, folder, about)
        if campaign["share"]:
            job.of_its_seed = of_seeds.setdefault(seed, [])
            job.of_its_seed.append(job)
        jobs.append(job)
    return jobs


def begin_with(first: Path, folder: Path) -> None:
    """A run begins as a copy of its seed's first one: every step that its settings do not touch is up to
    date, by its manifest, and the others are made again. Scores are not copied: until a run is evaluated
    itself, it has none to show."""
    if folder != first and not folder.exists():
        left_out = shutil.ignore_patterns(".kept", ".owner", "eval", "evaluate.json", "report.html",
                                          "report.md")
        with whole_folder(folder) as beside:
            shutil.copytree(first, beside, dirs_exist_ok=True, ignore=left_out)


# ---------------------------------------------------------------- the table

def finished(campaign: dict, overrides: list[str]) -> list[over_seeds.Run]:
    """Every run with the answers that it has so far, in the order of `runs`."""
    planned = zip(runs(campaign, overrides), folders(campaign, overrides))
    return [over_seeds.Run(str(variant), seed, read_answers(folder), folder)
            for (variant, seed, _), folder in planned]


def table(values: campaign_scores.Values) -> str:
    """Markdown: every variant's main metric of each task and system, the mean over its finished seeds and
    their range."""
    heads, lines = campaign_scores.score_table(values)
    head, *rows = ["| " + " | ".join(cells) + " |" for cells in [heads, *lines]]
    return "\n".join([head, "|---" * len(heads) + "|", *rows]) + "\n"


# ---------------------------------------------------------------- the command

def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign")
    parser.add_argument("--name", help="of its folders, so that two runs of one campaign on different data "
                                       "stand side by side")
    parser.add_argument("--table", action="store_true", help="only the table of what is there")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--cards", metavar="N", help="a run at a time on each of so many cards: 4; or on the "
                                                    "cards with these numbers: 0,2,3")
    where.add_argument("--at-once", type=int, default=1, metavar="N",
                       help="so many runs at a time, which divide the CPU's cores; where there is no card")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args(words)  # key=value may stand after an option
    guard(lambda: run_and_report(args))


def run_and_report(args: argparse.Namespace) -> None:
    """Runs the campaign, prints its table, and writes it to results/<campaign>.md, and the page with drawings
    to <campaign>.html; the learning curves of the runs that have both GRPO stages to <campaign>.svg."""
    campaign = read(args.campaign)
    if args.name is not None:
        campaign["name"] = args.name
        if not args.name or not is_plain_name(args.name):
            raise UserError(f"--name {args.name}: no plain name of a folder; results= says where it lies")
    failed = []
    if not args.table:
        places = places_on_cards(args.cards) if args.cards is not None else places_on_cores(args.at_once)
        failed = run(campaign, args.overrides, places)
    run_folders = folders(campaign, args.overrides)
    report = run_folders[0].parent / campaign["name"]
    found = finished(campaign, args.overrides)
    values = campaign_scores.scores(found)
    parts = [table(values), over_seeds.differences_text(found)]
    text = "\n".join(part for part in parts if part)
    print(text)
    write_text(report.with_suffix(".md"), text)
    changes = {str(variant): " ".join(as_words(settings or {}))
               for variant, settings in campaign["variants"].items()}
    write_text(report.with_suffix(".html"), campaign_page.render(campaign["name"], found, values, changes))
    with_both_stages = [folder for folder in run_folders
                        if read_metrics(folder, "guided") and read_metrics(folder, "explore")]
    if with_both_stages:
        write_text(report.with_suffix(".svg"), figures.alone(figures.learning(with_both_stages)))
    if failed:
        for job in failed:
            print(f"{job.name}: {job.failure}", file=sys.stderr)
        names = ", ".join(job.name for job in failed)
        raise UserError(f"{len(failed)} of {len(run_folders)} runs failed: {names}; the same command goes on "
                        "with them")


if __name__ == "__main__":
    keep_memory()
    handle_signals()
    main()
