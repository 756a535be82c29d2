"""How an answer is read out of what a model wrote. Ours: official LaMP compares the raw string (scorer.py,
`strict`).

Every reader returns the answer in the gold's form, or None: an answer that is not there earns nothing, so
none of them guesses. Chinese is our extension and differs in its markers, number words and in having no word
boundaries.
"""
from __future__ import annotations

import re

# "Answer: x", "**Score**: x", "the tag is x": what follows the last marker is the answer.
MARKER = re.compile(r"\b(?:answer|score|rating|tag)\b[\s*_\"']*(?:is\b|:|=)|(?:答案|评分|打分|标签)\s*\**\s*(?:是|为|：|:)",
                    re.IGNORECASE)
NUMBER_WORDS = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5",
                "一": "1", "二": "2", "两": "2", "三": "3", "四": "4", "五": "5"}
LINE_NAMES = (r"(?:(?:the|new|paraphrased?) )*(?:title|headline|subject|tweet|paraphrase|review|answer)"
              r"|标题|题目|主题|推文|评论|答案")
QUOTES = ('""', "''", "“”", "**", "__", "``", "《》", "「」")


def after_marker(text: str) -> str:
    tail = text[max((m.end() for m in MARKER.finditer(text)), default=0):]
    return tail if tail.strip() else text


def reference(text: str) -> str | None:
    """[1] or [2]. Naming both decides for the first only when it opens the text ("[1], because [2] is
    ...")."""
    if re.search(r"\[[12]\]\s*(?:or|and|/|或|和)\s*\[[12]\]", text):
        return None
    bracketed = re.findall(r"\[([12])\]", text)
    if len(set(bracketed)) == 1 or re.match(r"\W*[12]\]", text):
        return f"[{bracketed[0]}]" if bracketed else None
    bare = re.match(r"\W*(?:(?:option|reference|number)\W*)?([12])(?![0-9])(?!\.[0-9])", text, re.IGNORECASE)
    return f"[{bare.group(1)}]" if bare and not bracketed else None


def label(text: str, labels: tuple[str, ...]) -> str | None:
    """The label named earliest, the longest of those that begin there; case, hyphens and spaces do not
    matter."""
    found = []
    for name in labels:
        spelled = r"[\s-]+".join(map(re.escape, re.split(r"[\s-]", name)))
        if name.isascii():  # a word of its own; Chinese is written without spaces
            spelled = rf"(?<![a-zA-Z0-9_]){spelled}(?![a-zA-Z0-9_])"
        if hit := re.search(spelled, text, re.IGNORECASE):
            found.append((hit.start(), -len(name), name))
    return min(found)[2] if found else None


def rating(text: str, low: int = 1, high: int = 5) -> str | None:
    """A number in low..high, rounded to a whole one; scales ("1 to 5", "/5") are no scores, nor is "7/10" of
    5."""
    text = re.sub(rf"1, 2, 3, 4,? or 5|1、2、3、4或5|\b{low} ?(?:to|-|–|到|至) ?{high}(?![0-9])", " ", text)
    text = re.sub(rf"[0-9.]+ *(?:/|out of) *(?!{high}(?![0-9]))[0-9]+|(?:/|out of) *{high}(?![0-9])", " ",
                  text)
    for number in re.findall(r"(?<![a-zA-Z0-9_.-])[0-9]{1,9}(?:\.[0-9]{1,9})?(?![0-9])", text):
        if low <= float(number) <= high:
            return str(int(float(number) + 0.5))
    word = re.match(r"\W*(one|two|three|four|five)\b(?:\W*$|\s+(?:stars?|out)\b)", text, re.IGNORECASE) \
        or re.match(r"\W*([一二两三四五])(?:\W*$|[颗]?[星分])", text)
    number = NUMBER_WORDS[word.group(1).lower()] if word else None
    return number if number and low <= int(number) <= high else None


def line(text: str) -> str | None:
    """The first line that holds anything, without a "Title:" before it and quotation marks around it."""
    for one in text.splitlines():
        one = re.sub(rf"^[\s*_#]*(?:{LINE_NAMES})\s*[*_]*[:：][*_]*", "", one, flags=re.IGNORECASE).strip()
        while len(one) > 1 and one[0] + one[-1] in QUOTES:
            one = one[1:-1].strip()
        if one:
            return one
    return None
