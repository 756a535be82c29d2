"""Step 2, tag: a teacher reasons about every training question; wrong chains are thrown away; tags are counted."""
from collections import Counter
from pathlib import Path

from ..config import Config, UserError
from ..lamp.rows import read_questions
from ..runs import cli, progress, read_jsonl, run_step, write_json, write_jsonl
from ..tags import chains
from ..tags.schema import PRIMARY


def main(config: Config) -> None:
    given = [Path(p) for p in (config.tag.chains, config.tag.tags_file) if p]
    for path in given:
        if not path.is_file():
            raise UserError(f"{path} is not a file")
    run_step(config, "tag", inputs=["data/train.jsonl", "data/tasks.json"], settings=["seed", "tag"], outside=given, work=work,
             outputs=["chains/kept.jsonl", "chains/dropped.jsonl", "chains/tags.json"])


def work(config: Config, folder: Path) -> None:
    questions = {q.id: q for q in read_questions(folder, "train")}
    allowed = chains.read_tags(config.tag.tags_file) if config.tag.tags_file else PRIMARY
    if config.tag.chains:
        kept, dropped = chains.read_chains(config.tag.chains, questions, allowed)
        source = f"given chains, {Path(config.tag.chains).name}"
    else:
        if config.tag.teacher != "template":
            raise UserError(f"tag.teacher={config.tag.teacher}: only `template` so far")
        if foreign := set(allowed) - set(PRIMARY):
            raise UserError(f"{config.tag.tags_file}: unknown tag '{sorted(foreign)[0]}'; the template teacher writes only "
                            f"{', '.join(PRIMARY)}")
        kept, dropped, bar = [], [], progress(len(questions), "tag", "question")
        for q in questions.values():
            good, bad = chains.generate(q, config.tag.samples, config.tag.per_question)
            kept, dropped = kept + good, dropped + bad
            bar.update()
        bar.close()
        source = "template teacher, tag names ours"
    table = chains.tag_table(kept, source)
    rare = [c for c in kept if not set(c["tags"]) <= set(table["primary"])]
    dropped += [{**c, "reason": "uses a tag that is not primary"} for c in rare]
    kept = [c for c in kept if set(c["tags"]) <= set(table["primary"])]
    if not kept:
        raise UserError("no chain was kept: nothing to train on")
    write_jsonl(folder / "chains" / "kept.jsonl", kept)
    write_jsonl(folder / "chains" / "dropped.jsonl", dropped)
    write_json(folder / "chains" / "tags.json", table)
    solved = len({c["id"] for c in kept})
    print(f"  {len(kept)} chains kept for {solved} of {len(questions)} questions; dropped: "
          f"{dict(Counter(d['reason'] for d in dropped))}")
    print(f"  primary tags: {', '.join(table['primary'])}")


if __name__ == "__main__":
    cli(main, __doc__)
