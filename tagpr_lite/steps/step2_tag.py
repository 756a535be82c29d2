"""Step 2, tag: a teacher reasons about every training question; wrong chains are thrown away; steps get names, and the
nine most frequent names become the primary tags that every chain is then written in."""
from collections import Counter
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..lamp.tasks import Question
from ..runs import cli, progress, run_step, write_json, write_jsonl
from ..tags import chains, discover, labels, stats
from ..tags.schema import PRIMARY
from ..tags.teachers.chat import Answers, Ledger
from ..tags.teachers.teacher import answers, teacher

COMPARED = 40  # chains that the labeller names a second time, out of the closed set


def main(config: Config) -> None:
    given = [Path(p) for p in (config.tag.chains, config.tag.tags_file, config.tag.synonyms) if p]
    for path in given:
        if not path.is_file():
            raise UserError(f"{path} is not a file")
    run_step(config, "tag", inputs=["data/train.jsonl", "data/tasks.json"], settings=["seed", "tag"], outside=given, work=work,
             outputs=["chains/kept.jsonl", "chains/dropped.jsonl", "chains/tags.json", "chains/stats.json",
                      "?chains/synonyms.json"])


def work(config: Config, folder: Path) -> None:
    t, questions = config.tag, {q.id: q for q in read_questions(folder, "train")}
    allowed = chains.read_tags(t.tags_file) if t.tags_file else ()
    ledger = Ledger(t.price_in, t.price_out, t.max_cost, t.max_tokens)
    if t.chains:
        kept, dropped = chains.read_chains(t.chains, questions, allowed or PRIMARY, t)
        source = f"given chains, {Path(t.chains).name}"
    else:
        who = teacher(config, ledger, list(questions.values()))
        if t.teacher == "template" and (foreign := set(allowed) - set(PRIMARY)):
            raise UserError(f"{t.tags_file}: unknown tag '{sorted(foreign)[0]}'; the template teacher writes only "
                            f"{', '.join(PRIMARY)}")
        kept, dropped = attempts(who, questions, config)
        source = who.source
    if not kept:
        raise UserError(f"no chain was kept: nothing to train on; {reasons(dropped)}")
    found = close(kept, dropped, allowed, config, ledger)
    if not found.kept:
        raise UserError(f"no chain was kept: nothing to train on; {reasons(dropped)}")
    kept = chains.balanced(found.kept, t.most) if t.most else found.kept
    table = stats.tag_table(kept, source, found)
    write_jsonl(folder / "chains" / "kept.jsonl", kept)
    write_jsonl(folder / "chains" / "dropped.jsonl", map(chains.plain_row, dropped))
    write_json(folder / "chains" / "tags.json", table)
    write_json(folder / "chains" / "stats.json", stats.summary(kept, dropped, table["primary"], ledger.figures()))
    if found.stands:
        write_json(folder / "chains" / "synonyms.json", found.stands)
    print(f"  {len(kept)} chains kept for {len({c['id'] for c in kept})} of {len(questions)} questions; dropped: "
          f"{reasons(dropped)}")
    print(f"  primary tags: {', '.join(table['primary'])}")
    if ledger.replies:
        print(f"  {ledger.summary()}")


def attempts(who, questions: dict[str, Question], config: Config) -> tuple[list[dict], list[dict]]:
    with progress(len(questions) * config.tag.samples, "tag", "attempt") as bar:
        return chains.generate(list(questions.values()), who, config.tag, bar.update)


def reasons(dropped: list[dict]) -> str:
    counts = Counter(d["reason"].partition(":")[0] for d in dropped)
    return ", ".join(f"{n} {reason}" for reason, n in counts.most_common()) or "none"


def close(kept: list[dict], dropped: list[dict], allowed: tuple[str, ...], config: Config, ledger: Ledger) -> discover.Closed:
    """Every chain in nine tags: `allowed`, or those that come up most often."""
    t = config.tag
    if kept[0]["tags"]:  # named by whoever wrote them
        found = discover.close(kept, allowed, {}, t, merging=False)
    else:
        found = name(kept, dropped, allowed, answers(config, ledger, labels=True), config)
    dropped += [{**r, "reason": "uses a tag that is not primary"} for r in found.unmapped]
    return found


def name(kept: list[dict], dropped: list[dict], allowed: tuple[str, ...], model: Answers, config: Config) -> discover.Closed:
    """A model names the steps; names become tags; a chain that does not fit is named again out of the nine."""
    t, right = config.tag, {r["id"] for r in kept}
    wrong = {r["id"]: r for r in reversed(dropped) if r["reason"] == "wrong answer" and r["id"] in right and r["steps"]}
    rows = kept + list(wrong.values())  # PRMU compares the two: they must not differ in their tags' kind
    with progress(len(rows), "name the steps", "chain") as bar:
        ask = lambda some, closed: labels.label(model, [tuple(r["steps"]) for r in some], config.seed, closed, bar.update)
        for row, names in zip(rows, ask(rows, allowed)):
            row["tags"] = list(names or [])
        dropped += [{**r, "reason": "could not be labelled"} for r in kept if not r["tags"]]
        given = discover.read_synonyms(t.synonyms) if t.synonyms else {}
        found = discover.close([r for r in kept if r["tags"]], allowed, given, t, merging=not allowed)
        for row in wrong.values():
            row["tags"] = discover.relabel(row["tags"], found.stands, found.primary, found.mended) or []
        if not allowed:
            sample = found.kept[:COMPARED]
            bar.total += len(sample) + len(found.unmapped)
            pairs = [pair for r, names in zip(sample, ask(sample, found.primary)) if names for pair in zip(r["tags"], names)]
            found.agreement = discover.agreement([a for a, _ in pairs], [b for _, b in pairs])
            closed = ask(found.unmapped, found.primary)
            found.kept += [discover.tagged(r, names) for r, names in zip(found.unmapped, closed) if names]
            found.unmapped = [r for r, names in zip(found.unmapped, closed) if not names]
    return found


if __name__ == "__main__":
    cli(main, __doc__)
