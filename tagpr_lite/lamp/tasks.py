"""The tasks: the seven of LaMP, an eighth of ours for zero-shot transfer, their Chinese twins, and a person's own.

Decisions. A task is told from the question's own words (the official instruction is part of the input string) and
the outputs file's `task` field must agree; folder names say nothing. The instruction strings, label order, retrieval
queries and corpora of LaMP_1 to LaMP_7 are those of the official code, except that candidate titles are found by
their delimiters, since a title may itself hold quotation marks. `shop_reviews` and everything `_zh` are ours and occur
only in the built-in benchmark. A person's own task (own.py) is declared in a file and joins TASKS by `declare`.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from ..config import UserError
from . import answers


@dataclass(frozen=True)
class Item:
    """A profile item: `text` is the input side (review, article, abstract), `label` the output side (score, title)."""
    id: str
    text: str
    label: str
    date: str = ""


@dataclass(frozen=True)
class Question:
    id: str
    task: str
    user: str
    input: str
    gold: str | None
    profile: tuple[Item, ...]
    """Oldest first when every item is dated, otherwise in file order."""
    retrieved: tuple[int, ...] = ()
    """Positions in `profile`, best first."""
    date: str = ""
    """When the question was asked, where the data say so."""


@dataclass(frozen=True)
class Task:
    name: str
    title: str
    kind: str
    """choice, rating or text."""
    instruction: str
    """What an input begins with."""
    text_key: str = "text"
    label_key: str | None = "title"
    """The keys of a profile item in a file; None: items have no label."""
    labels: tuple[str, ...] = ()
    """The answers of a choice, or a rating's whole numbers in order."""
    noun: str = "answers"
    """What a user's past labels are called."""
    shape: str = ""
    """The LaMP task whose input form this has: LaMP_1 has two candidates, LaMP_2 lists its tags."""
    ranked_with_label: bool = False
    """Whether retrieval sees an item's label: officially for tasks 1, 4 and 5."""
    language: str = "en"

    @property
    def metric(self) -> str:
        return {"choice": "accuracy", "rating": "mae", "text": "rouge1"}[self.kind]

    @property
    def lower_is_better(self) -> bool:
        return self.kind == "rating"

    @property
    def scale(self) -> tuple[int, int]:
        """(lowest, highest) rating."""
        return int(self.labels[0]), int(self.labels[-1])

    @property
    def prefix(self) -> str:
        """What tells the task of an input. LaMP_2 stops before its tag list, which a subset may shorten."""
        return re.split(r" tags:|标签：", self.instruction)[0] if self.shape == "LaMP_2" else self.instruction

    def ask(self, payload: str) -> str:
        """The input string for a payload (a review, an article ...)."""
        gap = " " if self.language == "en" and self.instruction else ""
        return f"{self.instruction}{gap}{payload}"

    def payload(self, input: str) -> str:
        """The question's own content without the instruction; for LaMP_1 the author's own title."""
        if self.shape == "LaMP_1":
            found = CITATION[self.language].match(input)
            return found.group(1) if found else input
        if self.shape == "LaMP_2":
            return re.split(r"description:|简介：", input, maxsplit=1)[-1].strip() or input
        return input.removeprefix(self.instruction).strip()

    def options(self, input: str) -> list[str]:
        """LaMP_1: the two candidate titles in order. Other choices: the labels, in LaMP_2 those the input lists."""
        if self.shape == "LaMP_1":
            found = CITATION[self.language].match(input)
            return [found.group(2), found.group(3)] if found else []
        if self.shape == "LaMP_2":
            found = re.search(r"(?:tags: |标签：)\[(.*?)\]", input)
            return [t.strip() for t in found.group(1).split(",")] if found else list(self.labels)
        return list(self.labels) if self.kind == "choice" else []

    def query(self, input: str) -> str:
        """What profile items are ranked against: for LaMP_1 the two candidates (officially not the own title)."""
        return " ".join(self.options(input)) if self.shape == "LaMP_1" else self.payload(input)

    def corpus(self, item: Item) -> str:
        """What a profile item is ranked by. The official code indexes no tag, score or e-mail subject."""
        return f"{item.label} {item.text}" if self.ranked_with_label else item.text

    def parse_answer(self, text: str) -> str | None:
        """The answer that `text` gives, in the gold's form, or None when it gives none."""
        if self.shape == "LaMP_1":
            return answers.reference(answers.after_marker(text))
        if self.kind == "choice":
            return answers.label(answers.after_marker(text), self.labels)
        if self.kind == "rating":
            return answers.rating(answers.after_marker(text), *self.scale)
        return answers.line(text)


MOVIE_TAGS = ("sci-fi", "based on a book", "comedy", "action", "twist ending", "dystopia", "dark comedy", "classic",
              "psychology", "fantasy", "romance", "thought-provoking", "social commentary", "violence", "true story")
MOVIE_TAGS_ZH = ("科幻", "改编自书籍", "喜剧", "动作", "反转结局", "反乌托邦", "黑色喜剧", "经典",
                 "心理", "奇幻", "爱情", "发人深省", "社会评论", "暴力", "真实故事")
STARS = ("1", "2", "3", "4", "5")

LAMP = (
    Task("LaMP_1", "citation identification", "choice", "For an author who has written the paper with the title",
         "abstract", labels=("[1]", "[2]"), noun="papers", ranked_with_label=True),
    Task("LaMP_2", "movie tagging", "choice", "Which tag does this movie relate to among the following tags? Just "
         "answer with the tag name without further explanation. tags: [" + ", ".join(MOVIE_TAGS) + "] description:",
         "description", "tag", labels=MOVIE_TAGS, noun="tags"),
    Task("LaMP_3", "product rating", "rating", "What is the score of the following review on a scale of 1 to 5? just "
         "answer with 1, 2, 3, 4, or 5 without further explanation. review:", "text", "score", STARS, "scores"),
    Task("LaMP_4", "news headline", "text", "Generate a headline for the following article:", noun="headlines",
         ranked_with_label=True),
    Task("LaMP_5", "paper title", "text", "Generate a title for the following abstract of a paper:", "abstract",
         noun="titles", ranked_with_label=True),
    Task("LaMP_6", "e-mail subject", "text", "Generate a subject for the following email:", noun="subjects"),
    Task("LaMP_7", "tweet paraphrase", "text", "Paraphrase the following tweet without any explanation before or after "
         "it:", label_key=None, noun="tweets"),
    Task("shop_reviews", "shop review (ours)", "text", "Write the review that this user would write for a product, "
         "given its rating and the user's impressions.", label_key="review", noun="reviews"),
)
CHINESE = {  # our extension, for the built-in benchmark alone
    "LaMP_1": "对于撰写了这篇论文的作者，下面哪篇文献与之相关？只回答[1]或[2]，不要解释。论文：",
    "LaMP_2": "下列标签中哪一个与这部电影相关？只回答标签名称，不要解释。标签：[" + ", ".join(MOVIE_TAGS_ZH) + "] 简介：",
    "LaMP_3": "下面这条评论打几分（1到5分）？只回答1、2、3、4或5，不要解释。评论：",
    "LaMP_4": "为下面的文章拟一个标题：", "LaMP_5": "为下面的论文摘要拟一个题目：",
    "LaMP_6": "为下面的邮件拟一个主题：", "LaMP_7": "改写下面这条推文，前后不要加任何解释：",
    "shop_reviews": "根据评分和印象，写出这位用户会为该商品写的评论。",
}
CITATION = {
    "en": re.compile(re.escape(LAMP[0].instruction) + r' "(.*?)", which reference is related\?.*?'
                     r'\[1\]: "(.*)" \[2\]: "(.*)"\s*$', re.DOTALL),
    "zh": re.compile(re.escape(CHINESE["LaMP_1"]) + r"《(.*?)》 \[1\]：《(.*)》 \[2\]：《(.*)》\s*$", re.DOTALL),
}


def _built_in() -> dict[str, Task]:
    english = [replace(t, shape=t.name) for t in LAMP]
    chinese = [replace(t, name=f"{t.name}_zh", title=f"{t.title.removesuffix(' (ours)')}, Chinese (ours)", language="zh",
                       instruction=CHINESE[t.name], labels=MOVIE_TAGS_ZH if t.name == "LaMP_2" else t.labels)
               for t in english]
    return {t.name: t for t in english + chinese}


TASKS: dict[str, Task] = _built_in()
BUILT_IN = frozenset(TASKS)
OFFICIAL = tuple(t.name for t in LAMP if t.name.startswith("LaMP_"))


def declare(task: Task) -> None:
    """Makes a person's own task known. Declaring it again is harmless; another one under its name is an error."""
    if TASKS.setdefault(task.name, task) != task:
        raise UserError(f"the name {task.name} is taken by another task; choose another name")


def task_name(word: Any) -> str:
    """LaMP_3 for `LaMP_3`, `LaMP-3` or `lamp_3`; the official files and scripts differ in the dash."""
    plain = lambda text: re.sub(r"[-_ ]", "", str(text)).lower()
    found = next((name for name in TASKS if plain(name) == plain(word)), None)
    if found is None:
        shown = [name for name in TASKS if not name.endswith("_zh")]
        raise UserError(f"unknown task '{str(word)[:40]}'; known: {', '.join(shown)}")
    return found


def detect(input: str, task_field: str | None = None) -> str:
    """Which task a question is, from the words it begins with; `task_field` (of the outputs file) must agree."""
    said = task_name(task_field) if task_field else None
    seen = next((name for name in TASKS if (p := TASKS[name].prefix) and input.startswith(p)), None)
    start = repr(input[:50])
    if seen is None and input.startswith("Which category does this article relate to"):
        raise UserError("this is the old LaMP-2 (news categories); fetch movie tagging from LaMP_2/new instead")
    if seen is None:
        raise UserError(f"no LaMP task has an input that begins {start}")
    if said and said != seen:
        raise UserError(f"the outputs file says {said} but an input begins {start}, which is {seen}")
    return seen


# ---------------------------------------------------------------- words

CHINESE_RUN = r"[\u3400-\u9fff]"


def words_of(text: str) -> list[str]:
    """Words of four letters or more, as shorter ones say little about a subject; pairs of neighbouring Chinese
    characters, which is as near to a word as one gets without a dictionary."""
    return [pair or word for pair, word in
            re.findall(rf"(?=({CHINESE_RUN}{{2}})){CHINESE_RUN}|((?:(?!{CHINESE_RUN})[^\W\d_]){{4,}})", text)]


def pieces(text: str, language: str) -> list[str]:
    """What the length of a text is counted in: words, or for Chinese characters (Latin words and numbers whole)."""
    return text.split() if language == "en" else re.findall(r"[A-Za-z0-9]+|[^\W_]", text)


def plain(text: str) -> str:
    """Lower case, single spaces, no full stop or ellipsis at the end: how texts are compared."""
    return " ".join(text.lower().split()).rstrip(".… ")


# ---------------------------------------------------------------- rows of data/*.jsonl

def to_row(question: Question) -> dict:
    """As JSON has it. Not asdict, which copies deeply: a third of the time of a conversion."""
    return {**vars(question), "profile": [dict(vars(item)) for item in question.profile],
            "retrieved": list(question.retrieved)}


def from_row(row: dict) -> Question:
    """The inverse of `to_row` after a trip through JSON."""
    try:
        items = tuple(Item(**item) for item in row["profile"])
        question = Question(**{**row, "profile": items, "retrieved": tuple(row.get("retrieved", ()))})
        words = [question.id, question.user, question.input]
        words += [word for i in items for word in (i.id, i.text, i.label, i.date)]
        good = all(isinstance(w, str) for w in words) and isinstance(question.gold, str | None)
        good = good and question.task in TASKS
        good = good and all(type(p) is int and 0 <= p < len(items) for p in question.retrieved)
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        name = row.get("id", "?") if isinstance(row, dict) else "?"
        raise UserError(f"question row {str(name)[:40]!r} has not the shape that step 1 writes; run step 1 again")
    return question
