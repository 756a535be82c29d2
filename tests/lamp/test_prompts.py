import pytest

from tagpr_lite.config import Prompt, UserError
from tagpr_lite.lamp.prompts import (
    OFFICIAL,
    REASON,
    STYLES,
    PromptReport,
    build,
    facts,
    message,
    rating_stats,
)
from tagpr_lite.lamp.style import style_stats
from tagpr_lite.lamp.tasks import TASKS, Item, Question


class Words:
    """A tokenizer whose tokens are words; its template puts <s> before and <assistant> after the message."""
    all_special_tokens = ["<s>", "</s>", "<assistant>"]
    added_tokens_decoder = {}
    chat_template = "<s> message <assistant>"
    name_or_path = "words"

    def __init__(self):
        self.vocabulary = []

    def encode(self, text, add_special_tokens=True):
        assert not add_special_tokens
        for word in text.split():
            if word not in self.vocabulary:
                self.vocabulary.append(word)
        return [self.vocabulary.index(w) for w in text.split()]

    def decode(self, ids):
        return " ".join(self.vocabulary[i] for i in ids)

    def __len__(self):
        return len(self.vocabulary)

    def apply_chat_template(self, chat, chat_template, add_generation_prompt, tokenize, **switches):
        assert add_generation_prompt and not tokenize
        assert [turn["role"] for turn in chat] == ["user"]
        return f"<s> {chat[0]['content']} <assistant>"


def review(items, text="A fine thing", retrieved=(), task="LaMP_3"):
    return Question("q", TASKS[task], "u", f"{TASKS[task].instruction} {text}", "5", tuple(items),
                    tuple(retrieved))


def ask(q, max_tokens=200, item_tokens=20, with_profile=True, reason=False, style="chat"):
    tokenizer = Words()
    ids, report = build(q, tokenizer, Prompt(style, max_tokens, item_tokens), with_profile=with_profile,
                        reason=reason)
    return tokenizer.decode(ids), len(ids), report


ITEMS = [Item("0", "good " * 30, "5"), Item("1", "bad\nthing", "1"), Item("2", "also good", "5")]


def test_the_message_is_facts_items_question_and_request():
    q = review(ITEMS, retrieved=(1, 2))
    text = message(q, ITEMS[1:], "chat", with_profile=True, reason=True)
    assert text.split("\n") == ["Past scores: 5 1 5 (mean 3.7, usually 4)", '- "bad thing" -> 1',
                                '- "also good" -> 5', "", q.input, REASON]
    assert message(q, ITEMS, "chat", with_profile=False, reason=False) == q.input


def test_items_are_cut_then_dropped_worst_first_and_the_question_never():
    q = review(ITEMS, retrieved=(2, 1, 0))
    text, n, report = ask(q, item_tokens=4)
    assert report == PromptReport(n, 3, 1, 0, False)
    assert '"good good good…" -> 5' in text and q.input in text and text.endswith("<assistant>")
    text, fewer, report = ask(q, max_tokens=n - 1, item_tokens=4)
    assert report.items_shown == 2 and report.items_dropped == 1 and fewer <= n - 1
    assert "also" in text and "…" not in text and report.items_cut == 0
    text, longest, report = ask(q, max_tokens=5, reason=True)
    assert report == PromptReport(longest, 0, 0, 3, True)
    assert q.input in text and REASON in text


def test_without_the_profile_nothing_of_it_is_shown():
    text, n, report = ask(review(ITEMS, retrieved=(0, 1)), with_profile=False)
    assert "Past" not in text and report == PromptReport(n, 0, 0, 0, False)


def test_special_tokens_in_the_data_are_only_text():
    text, _, _ = ask(review([Item("0", "x </s> y", "1")], text="nice </s> <assistant> 5", retrieved=(0,)))
    assert text.count("<assistant>") == 1 and "</s>" not in text and "< /s>" in text


@pytest.mark.parametrize("task, label, line", [
    ("LaMP_2", "comedy", "Past tags: comedy 2"),
    ("LaMP_4", "Big Storm Hits Coast", "Past headlines: 4 words on average, Title Case 100%, end mark 0%"),
    ("LaMP_5", "why not?",
     "Past titles: 2 words on average, Title Case 0%, lower case 100%, question 100%, end mark 100%"),
    ("LaMP_7", "",
     "Past tweets: 4 words on average, Title Case 0%, lower case 100%, exclamation 100%, end mark 100%"),
])
def test_facts_by_hand(task, label, line):
    assert facts(review([Item("0", "so much fun today!", label)] * 2, task=task)) == line


def test_facts_of_citations_count_the_papers_that_share_a_word():
    question = (f'{TASKS["LaMP_1"].instruction} "T", which reference is related? '
                'Just answer with [1] or [2] without explanation. [1]: "Graph neural nets" [2]: "Cooking"')
    items = (Item("0", "on graph theory", "Graph cuts"), Item("1", "graph search", "Neural search"))
    got = facts(Question("q", TASKS["LaMP_1"], "u", question, "[1]", items))
    assert got == "Past papers: 2. Words of [1] in them: graph 2, neural 1. Words of [2] in them: none"


def test_long_histories_show_the_last_scores_and_count_all():
    line = facts(review([Item("0", "", "1")] * 88 + [Item("0", "", "5")] * 12))
    assert line == "Past scores (last 12 of 100): " + "5 " * 12 + "(mean 1.5, usually 1)"


def test_stats():
    assert rating_stats((Item("0", "", "4"), Item("1", "", "5"))) == ([4, 5], 4.5, 5)
    assert style_stats([])["words"] == 0
    assert style_stats(["BREAKING News: rain", "x"])["CAPS word"] == 0.5
    assert style_stats(["a: b", "c"])["colon"] == 0.5


OLD = [Item("0", "one text", "A"), Item("1", "two", "B")]


@pytest.mark.parametrize("task, wanted", [  # by hand, from the benchmark's own prompt code
    ("LaMP_2",
     'the tag for the movie: "one text" is "A" , and the tag for the movie: "two" is "B" . {input}'),
    ("LaMP_3", 'A is the score for "one text" , and B is the score for "two" . {input}'),
    ("LaMP_4", '"A" is the title for "one text" , and "B" is the title for "two" . {input}'),
    ("LaMP_5", '"A" is a title for "one text" , and "B" is a title for "two" . '
               'Following the given patterns {input}'),
    ("LaMP_6", '"A" is the title for "one text" , and "B" is the title for "two" . {input}'),
    ("LaMP_7", '"one text" , and "two"  are written by a person. Following the given patterns {input}'),
])
def test_the_official_prompt_word_for_word(task, wanted):
    q = review(OLD, task=task)
    assert message(q, OLD, "official", with_profile=True, reason=False) == wanted.format(input=q.input)
    assert message(q, [], "official", with_profile=True, reason=False) == q.input


def test_the_official_citation_prompt_folds_titles_in_after_the_word_title():
    q = review(OLD, text='"My title", which reference is related?', task="LaMP_1")
    assert message(q, OLD, "official", with_profile=True, reason=False) == (
        'For an author who has written the paper with the title, and "A", and "B" "My title", '
        'which reference is related?')


def test_official_prompts_keep_to_the_budget_too():
    q = review(ITEMS, retrieved=(2, 1, 0))
    text, n, report = ask(q, item_tokens=4, style="official")
    assert text.startswith('<s> 5 is the score for "also good" , and') and report.items_shown == 3
    assert ask(q, max_tokens=n - 1, item_tokens=4, style="official")[2].items_dropped == 1


def test_every_task_builds_in_every_style():
    for task in TASKS:
        q = review([Item("0", "some text", (TASKS[task].labels or ("a title",))[0])], task=task,
                   retrieved=(0,))
        for style in STYLES:
            assert ask(q, style=style)[2].items_shown == 1
    assert set(OFFICIAL) <= {t.lamp_name for t in TASKS.values()} | {""}
    with pytest.raises(UserError, match="prompt.style 'x'; known: chat, official"):
        ask(q, style="x")
