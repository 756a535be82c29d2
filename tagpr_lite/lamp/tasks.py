"""The tasks: the seven of LaMP, an eighth of ours for zero-shot transfer, their Chinese twins, and a person's
own.

Decisions. A question holds its Task, so that nobody looks a task up by its name: a name is turned into a Task
where a file is read, and nowhere else. A task is told from the question's own words (the official instruction
is part of the input string) and the outputs file's `task` field must agree; folder names say nothing. The
instruction strings, label order, retrieval queries and corpora of LaMP_1 to LaMP_7 are those of the official
code, except that candidate titles are found by their delimiters, since a title may itself hold quotation
marks. `shop_reviews` and everything `_zh` are ours and occur only in the built-in benchmark. A person's own
task is declared in a file (own.py).
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..config import UserError
from . import answers

METRICS = {"choice": ("accuracy", "f1"), "rating": ("mae", "rmse"), "text": ("rouge1", "rougeL")}
"""The metrics of every kind of task, the main one first."""
LOWER_IS_BETTER = frozenset({"mae", "rmse"})


@dataclass(frozen=True)
class Item:
    """A profile item: `text` is the input side (review, article, abstract), `label` the output side (score,
    title)."""
    id: str
    text: str
    label: str
    date: str = ""


@dataclass(frozen=True)
class Task:
    """What one task asks, how its answers are read, and which keys its profile items have in a file."""
    name: str
    title: str
    kind: str
    """choice, rating or text: decides the metrics."""
    instruction: str
    """What an input begins with."""
    text_key: str = "text"
    label_key: str | None = "title"
    """The keys of a profile item in a file; None: items have no label."""
    labels: tuple[str, ...] = ()
    """The answers of a choice, or a rating's whole numbers in order."""
    noun: str = "answers"
    """What a user's past labels are called."""
    lamp_name: str = ""
    """The benchmark task whose input form this has: LaMP_3 for LaMP_3_zh; empty for a person's own task."""
    ranked_with_label: bool = False
    """Whether retrieval sees an item's label: officially for tasks 1, 4 and 5."""
    language: str = "en"

    @property
    def form(self) -> str:
        """How a question is put: `citation` offers two titles (LaMP_1), the others are as their kind says."""
        return "citation" if self.lamp_name == "LaMP_1" else self.kind

    @property
    def metric(self) -> str:
        """The main metric."""
        return METRICS[self.kind][0]

    @property
    def lower_is_better(self) -> bool:
        return self.metric in LOWER_IS_BETTER

    @property
    def scale(self) -> tuple[int, int]:
        """(lowest, highest) rating."""
        return int(self.labels[0]), int(self.labels[-1])

    @property
    def asks_what_items_hold(self) -> bool:
        """Whether a question's own text is of the kind that items hold, a review among reviews. A citation
        asks about a title, and its items are abstracts."""
        return self.form != "citation"

    @property
    def shows_item_text(self) -> bool:
        """Whether prompts show an item's text; of a citation they show titles alone, as the official prompt
        does."""
        return self.form != "citation"

    @property
    def has_one_line(self) -> bool:
        """Whether an answer is one line by its nature: a headline, a title or a subject. Other texts may have
        paragraphs."""
        return self.lamp_name in ("LaMP_4", "LaMP_5", "LaMP_6")

    @property
    def prefix(self) -> str:
        """What tells the task of an input. LaMP_2 stops before its tag list, which a subset may shorten."""
        if self.lamp_name == "LaMP_2":
            return re.split(r" tags:|标签：", self.instruction)[0]
        return self.instruction

    def ask(self, payload: str) -> str:
        """The input string for a payload (a review, an article ...)."""
        gap = " " if self.language == "en" and self.instruction else ""
        return f"{self.instruction}{gap}{payload}"

    def payload(self, input: str) -> str:
        """The question's own content without the instruction; of a citation the author's own title."""
        if self.form == "citation":
            match = CITATION[self.language].match(input)
            return match.group(1) if match else input
        if self.lamp_name == "LaMP_2":
            return re.split(r"description:|简介：", input, maxsplit=1)[-1].strip() or input
        return input.removeprefix(self.instruction).strip()

    def options(self, input: str) -> list[str]:
        """Citation: the two candidate titles in order. Other choices: the labels, in LaMP_2 those the input
        lists."""
        if self.form == "citation":
            match = CITATION[self.language].match(input)
            return [match.group(2), match.group(3)] if match else []
        if self.lamp_name == "LaMP_2":
            match = re.search(r"(?:tags: |标签：)\[(.*?)\]", input)
            return [tag.strip() for tag in match.group(1).split(",")] if match else list(self.labels)
        return list(self.labels) if self.kind == "choice" else []

    def query(self, input: str) -> str:
        """What profile items are ranked against: of a citation the two candidates (officially not the own
        title)."""
        return " ".join(self.options(input)) if self.form == "citation" else self.payload(input)

    def corpus(self, item: Item) -> str:
        """What a profile item is ranked by. The official code indexes no tag, score or e-mail subject."""
        return f"{item.label} {item.text}" if self.ranked_with_label else item.text

    def parse_answer(self, text: str) -> str | None:
        """The answer that `text` gives after its thought, in the gold's form, or None when it gives none."""
        text = answers.answer_of(text)
        if self.form == "citation":
            return answers.reference(answers.after_marker(text))
        if self.form == "choice":
            return answers.label(text, self.labels)
        if self.form == "rating":
            if text in self.labels:
                return text
            return answers.rating(answers.after_marker(text), *self.scale)
        return answers.line(text) if self.has_one_line else answers.whole(text)


@dataclass(frozen=True)
class Question:
    """One question of one user, with the user's profile."""
    id: str
    task: Task
    user: str
    input: str
    gold: str | None
    profile: tuple[Item, ...]
    """Oldest first when every item is dated, otherwise in file order."""
    retrieved: tuple[int, ...] = ()
    """Positions in `profile`, best first."""
    date: str = ""
    """When the question was asked, where the data say so."""

    @property
    def gold_text(self) -> str:
        """The gold in words: of a citation the title that it points to, otherwise the gold itself."""
        if self.task.form == "citation" and self.gold in ("[1]", "[2]"):
            options = self.task.options(self.input)
            return options[int(self.gold[1]) - 1] if options else ""
        return self.gold or ""


MOVIE_TAGS = ("sci-fi", "based on a book", "comedy", "action", "twist ending", "dystopia", "dark comedy",
              "classic", "psychology", "fantasy", "romance", "thought-provoking", "social commentary",
              "violence", "true story")
MOVIE_TAGS_ZH = ("科幻", "改编自书籍", "喜剧", "动作", "反转结局", "反乌托邦", "黑色喜剧", "经典",
                 "心理", "奇幻", "爱情", "发人深省", "社会评论", "暴力", "真实故事")
STARS = ("1", "2", "3", "4", "5")

LAMP = (
    Task("LaMP_1", "citation identification", "choice",
         "For an author who has written the paper with the title",
         text_key="abstract", labels=("[1]", "[2]"), noun="papers", ranked_with_label=True),
    Task("LaMP_2", "movie tagging", "choice",
         "Which tag does this movie relate to among the following tags? Just answer with the tag name "
         f"without further explanation. tags: [{', '.join(MOVIE_TAGS)}] description:",
         text_key="description", label_key="tag", labels=MOVIE_TAGS, noun="tags"),
    Task("LaMP_3", "product rating", "rating",
         "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, 4, or 5 "
         "without further explanation. review:",
         label_key="score", labels=STARS, noun="scores"),
    Task("LaMP_4", "news headline", "text",
         "Generate a headline for the following article:",
         noun="headlines", ranked_with_label=True),
    Task("LaMP_5", "paper title", "text",
         "Generate a title for the following abstract of a paper:",
         text_key="abstract", noun="titles", ranked_with_label=True),
    Task("LaMP_6", "e-mail subject", "text",
         "Generate a subject for the following email:",
         noun="subjects"),
    Task("LaMP_7", "tweet paraphrase", "text",
         "Paraphrase the following tweet without any explanation before or after it:",
         label_key=None, noun="tweets"),
    Task("shop_reviews", "shop review (ours)", "text",
         "Write the review that this user would write for a product, given its rating and the user's "
         "impressions.",
         label_key="review", noun="reviews"),
)
CHINESE = {  # our extension, for the built-in benchmark alone
    "LaMP_1": "对于撰写了这篇论文的作者，下面哪篇文献与之相关？只回答[1]或[2]，不要解释。论文：",
    "LaMP_2": ("下列标签中哪一个与这部电影相关？只回答标签名称，不要解释。"
               f"标签：[{', '.join(MOVIE_TAGS_ZH)}] 简介："),
    "LaMP_3": "下面这条评论打几分（1到5分）？只回答1、2、3、4或5，不要解释。评论：",
    "LaMP_4": "为下面的文章拟一个标题：",
    "LaMP_5": "为下面的论文摘要拟一个题目：",
    "LaMP_6": "为下面的邮件拟一个主题：",
    "LaMP_7": "改写下面这条推文，前后不要加任何解释：",
    "shop_reviews": "根据评分和印象，写出这位用户会为该商品写的评论。",
}
CITATION = {
    "en": re.compile(re.escape(LAMP[0].instruction) + r' "(.*?)", which reference is related\?.*?'
                     r'\[1\]: "(.*)" \[2\]: "(.*)"\s*$', re.DOTALL),
    "zh": re.compile(re.escape(CHINESE["LaMP_1"]) + r"《(.*?)》 \[1\]：《(.*)》 \[2\]：《(.*)》\s*$",
                     re.DOTALL),
}


def _built_in() -> dict[str, Task]:
    english = [replace(task, lamp_name=task.name) for task in LAMP]
    chinese = [
        replace(task, name=f"{task.name}_zh", title=f"{task.title.removesuffix(' (ours)')}, Chinese (ours)",
                language="zh", instruction=CHINESE[task.name],
                labels=MOVIE_TAGS_ZH if task.name == "LaMP_2" else task.labels)
        for task in english]
    return {task.name: task for task in english + chinese}


TASKS: Mapping[str, Task] = _built_in()
"""The built-in tasks by name. A person's own tasks are never added: they travel with their questions."""
OFFICIAL = tuple(task.name for task in LAMP if task.name.startswith("LaMP_"))


def find_task(word: Any, tasks: Mapping[str, Task] = TASKS) -> Task:
    """LaMP_3 for `LaMP_3`, `LaMP-3` or `lamp_3`; the official files and scripts differ in the dash."""
    def without_dashes(name: Any) -> str:
        return re.sub(r"[-_ ]", "", str(name)).lower()

    for name, task in tasks.items():
        if without_dashes(name) == without_dashes(word):
            return task
    known = [name for name in tasks if not name.endswith("_zh")]
    raise UserError(f"unknown task '{str(word)[:40]}'; known: {', '.join(known)}")


def detect(input: str, task_field: str | None = None) -> Task:
    """Which task a question is, from the words it begins with; `task_field` (of the outputs file) must
    agree."""
    named = find_task(task_field) if task_field else None
    detected = next((task for task in TASKS.values() if task.prefix and input.startswith(task.prefix)), None)
    start = repr(input[:50])
    if detected is None and input.startswith("Which category does this article relate to"):
        raise UserError("this is the old LaMP-2 (news categories); fetch movie tagging from LaMP_2/new "
                        "instead")
    if detected is None:
        raise UserError(f"no LaMP task has an input that begins {start}")
    if named and named != detected:
        raise UserError(f"the outputs file says {named.name} but an input begins {start}, which is "
                        f"{detected.name}")
    return detected
