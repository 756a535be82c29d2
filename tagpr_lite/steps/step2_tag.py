"""Step 2, tag: a teacher reasons about every training question; wrong chains are thrown away; steps get
names, and the nine most frequent names become the primary tags that every chain is then written in."""
from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..lamp.tasks import Question
from ..runs import cli, progress, run_step, write_json, write_jsonl
from ..tags import chains, discover, labels, stats
from ..tags.discover import PrimaryChains
from ..tags.follows import supports
from ..tags.schema import PRIMARY, parse
from ..tags.teachers.chat import Answers
from ..tags.teachers.ledger import Ledger, gist
from ..tags.teachers.teacher import answers, teacher

COMPARED = 40  # chains that the labeller names a second time, out of the closed set
MOST_REASONS = 8  # reasons to drop a chain that are shown; all of them are in a file


def main(config: Config) -> None:
    given = [Path(p) for p in (config.tag.chains, config.tag.tags_file, config.tag.synonyms) if p]
    for path in given:
        if not path.is_file():
            raise UserError(f"{path} is not a file")
    run_step(config, "tag", inputs=["data/train.jsonl", "data/tasks.json"], settings=["seed", "tag"],
             outside=given, models=models_of(config), work=work,
             outputs=["chains/kept.jsonl", "chains/dropped.jsonl", "chains/tags.json", "chains/stats.json",
                      "?chains/synonyms.json"])


def models_of(config: Config) -> list[str]:
    """The models that are loaded here: a local teacher, and the sentence encoder that compares names."""
    t = config.tag
    local = [name for name in (t.model, t.label_model) if t.teacher == "local" and name]
    return local + ([t.encoder] if t.encoder else [])


def work(config: Config, folder: Path) -> None:
    t, questions = config.tag, {q.id: q for q in read_questions(folder, "train")}
    allowed = chains.read_tags(t.tags_file) if t.tags_file else ()
    ledger = Ledger(t.price_in, t.price_out, t.max_cost, t.max_tokens)
    kept, dropped, source = written_chains(config, questions, allowed, ledger)
    check_some(kept, dropped, folder)
    found, refused = in_primary_tags(kept, dropped, allowed, config, ledger)
    dropped = dropped + refused
    check_some(found.kept, dropped, folder)
    kept = chains.balanced(found.kept, t.most) if t.most else found.kept
    for row in kept:
        row["supports"] = sorted(supports(parse(row["text"], allowed=None), questions[row["id"]]))
    table = stats.tag_table(kept, source, found)
    write_jsonl(folder / "chains" / "kept.jsonl", kept)
    write_jsonl(folder / "chains" / "dropped.jsonl", map(chains.plain_row, dropped))
    write_json(folder / "chains" / "tags.json", table)
    write_json(folder / "chains" / "stats.json",
               stats.summary(kept, dropped, questions, table["primary"], ledger.figures()))
    if found.tag_map.canonical:
        write_json(folder / "chains" / "synonyms.json", found.tag_map.canonical)
    solved = len({row["id"] for row in kept})
    print(f"  {len(kept)} chains kept for {solved} of {len(questions)} questions; "
          f"dropped: {reasons(dropped)}")
    print(f"  primary tags: {', '.join(table['primary'])}")
    if ledger.replies:
        print(f"  {ledger.summary()}")


def written_chains(config: Config, questions: dict[str, Question], allowed: tuple[str, ...], ledger: Ledger
                   ) -> tuple[list[dict], list[dict], str]:
    """(kept, dropped, where they are from): a user's ready-made chains, or the teacher's."""
    t = config.tag
    if t.chains:
        kept, dropped = chains.read_chains(t.chains, questions, allowed or PRIMARY, t)
        return kept, dropped, f"given chains, {Path(t.chains).name}"
    writer = teacher(config, ledger, list(questions.values()))
    if t.teacher == "template" and (foreign := set(allowed) - set(PRIMARY)):
        raise UserError(f"{t.tags_file}: unknown tag '{sorted(foreign)[0]}'; the template teacher writes "
                        f"only {', '.join(PRIMARY)}")
    with progress(len(questions) * t.samples, "tag", "attempt") as bar:
        kept, dropped = chains.generate(list(questions.values()), writer, t, bar.update)
        bar.total = bar.n  # solved questions need no further attempts
        bar.refresh()
    return kept, dropped, writer.source


def check_some(kept: list[dict], dropped: list[dict], folder: Path) -> None:
    """Writes chains/reasons.json; UserError where no chain is left. The file is no output of the step, so it
    stays where the step's outputs do not."""
    write_json(folder / "chains" / "reasons.json", dict(Counter(map(reason, dropped)).most_common()))
    if not kept:
        raise UserError(f"no chain was kept: nothing to train on; {reasons(dropped)}")


def reasons(dropped: list[dict]) -> str:
    """How often each reason came up, in one line. Words that differ in their numbers alone are one reason,
    and are shown as they first came up."""
    counts: Counter = Counter()
    first: dict[str, str] = {}
    for row in dropped:
        counts[gist(reason(row))] += 1
        first.setdefault(gist(reason(row)), reason(row))
    shown = [f"{count} {first[key]}" for key, count in counts.most_common(MOST_REASONS)]
    if len(counts) > MOST_REASONS:
        shown.append(f"{len(counts) - MOST_REASONS} more reasons in chains/reasons.json")
    return ", ".join(shown) or "none"


def reason(row: dict) -> str:
    """Why a chain was dropped, in full."""
    return f"{row['reason']}: {row['detail']}" if row.get("detail") else row["reason"]


# ---------------------------------------------------------------- names become tags

def in_primary_tags(kept: list[dict], dropped: list[dict], allowed: tuple[str, ...], config: Config,
                    ledger: Ledger) -> tuple[PrimaryChains, list[dict]]:
    """(every chain in nine tags: `allowed`, or those that come up most often; the chains that could not
    be)."""
    if kept[0]["tags"]:  # named by whoever wrote them
        found = discover.restrict_to_primary_tags(kept, allowed, {}, config.tag, merging=False)
        refused = []
    else:
        found, refused = name_steps(kept, dropped, allowed, answers(config, ledger, labels=True), config)
    return found, refused + [{**row, "reason": "uses a tag that is not primary"} for row in found.unmapped]


def name_steps(kept: list[dict], dropped: list[dict], allowed: tuple[str, ...], model: Answers, config: Config
               ) -> tuple[PrimaryChains, list[dict]]:
    """(chains in primary tags, rows that could not be labelled). A model names the steps; names become tags;
    a chain that does not fit is named again out of the nine. Wrong chains of solved questions get tags too,
    in place: PRMU compares them with the right ones, and the two must not differ in the kind of their
    tags."""
    t = config.tag
    wrong = wrong_chains(kept, dropped)
    with progress(len(kept) + len(wrong), "name the steps", "chain") as bar:
        def ask(rows: list[dict], closed: tuple[str, ...]) -> tuple[list[labels.Labels | None], list[str]]:
            return labels.label(model, [tuple(row["steps"]) for row in rows], config.seed, closed, bar.update,
                                t.room)

        # 1. Every chain's steps are named, freely or out of `allowed`.
        names_of_rows, faults = ask(kept + wrong, allowed)
        for row, names in zip(kept + wrong, names_of_rows, strict=True):
            row["tags"] = list(names or [])
        refused = [{**row, "reason": "could not be labelled", "detail": fault}
                   for row, fault in zip(kept, faults) if not row["tags"]]

        # 2. Names that mean the same are merged, the nine most frequent become the primary tags.
        given = discover.read_synonyms(t.synonyms) if t.synonyms else {}
        found = discover.restrict_to_primary_tags([row for row in kept if row["tags"]], allowed, given, t,
                                                  merging=not allowed)
        for row in wrong:
            row["tags"] = found.tag_map.primary_tags(row["tags"]) or []
        if allowed:
            return found, refused

        # 3. Named a second time out of the nine: some chains to see how far both namings agree, and those
        # that do not fit.
        primary, sample = found.tag_map.primary, found.kept[:COMPARED]
        bar.total += len(sample) + len(found.unmapped)
        pairs = [pair for row, names in zip(sample, ask(sample, primary)[0], strict=True) if names
                 for pair in zip(row["tags"], names, strict=True)]
        agreement = discover.agreement([first for first, _ in pairs], [second for _, second in pairs])
        again = list(zip(found.unmapped, ask(found.unmapped, primary)[0], strict=True))
        mapped = [discover.tagged(row, names) for row, names in again if names]
        return replace(found, kept=found.kept + mapped, unmapped=[row for row, names in again if not names],
                       agreement=agreement), refused


def wrong_chains(kept: list[dict], dropped: list[dict]) -> list[dict]:
    """Of every solved question the first chain that was dropped for a wrong answer."""
    solved = {row["id"] for row in kept}
    wrong = {row["id"]: row for row in reversed(dropped)
             if row["reason"] == "wrong answer" and row["id"] in solved and row["steps"]}
    return list(wrong.values())


if __name__ == "__main__":
    cli(main, __doc__)
