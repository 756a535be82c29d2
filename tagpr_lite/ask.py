"""Ask a finished run, with your own history.

    python -m tagpr_lite.ask --run results/cpu --task 3 --history mine.jsonl "It broke after a day."
    python -m tagpr_lite.ask --run results/cpu --task 3 --history mine.db --interactive

The chain is shown while it is written, each claim about your history marked true or false where it can be
checked, then the answer. mine.jsonl holds one item a line, with the keys of the task's files: {"text",
"score"} of LaMP_3. mine.db is a history that grows: with --interactive, what you accept or correct joins it,
and the next answer knows it, without training.
"""
from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .answering.history import History, item_number, items_of_file, label_of
from .answering.run import STAGES, FinishedRun, open_run, question_of
from .answering.terminal import ChainView, has_colour
from .config import UserError
from .lamp.tasks import Item, Question, Task
from .runs import guard, keep_memory, one_line

YOU = "you"
HELP = """an answer is yours when you press Enter; write another one to correct it, or - to leave it out
/history        your items    /fix 3 ANSWER   corrects item 3
/forget 3       removes it    /quit           ends"""


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tagpr_lite.ask", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", nargs="?", help="what is asked about: a review, an article ...")
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help="of the run")
    parser.add_argument("--stage", choices=STAGES, help="whose adapter answers; the last one that is there")
    parser.add_argument("--task", help="its name or number, LaMP_3 or 3")
    parser.add_argument("--history", type=Path, metavar="FILE", help="mine.jsonl, or mine.db, which grows")
    parser.add_argument("--without-profile", action="store_true", help="also the answer without the history")
    parser.add_argument("--prmu", action="store_true", help="also the reward model's scores of the answer")
    parser.add_argument("--interactive", action="store_true", help="ask again and again, and correct")
    parser.add_argument("--debug", action="store_true", help="print tracebacks of bad input")
    args = parser.parse_args(words)
    guard(lambda: run(args), debug=args.debug)


def run(args: argparse.Namespace) -> None:
    if not args.interactive and args.text is None:
        raise UserError("nothing is asked: give a text, or --interactive")
    finished = open_run(args.run, args.stage)
    task = finished.task(args.task)
    session = Session(finished, task, args)
    if args.text is not None:
        session.ask(args.text)
    if args.interactive:
        session.go_on()


class Session:
    """One person who asks about one task."""

    def __init__(self, finished: FinishedRun, task: Task, args: argparse.Namespace):
        self.finished, self.task, self.args = finished, task, args
        self.history = self._open_history()
        self._answerer = None

    def _open_history(self) -> History | None:
        """The file that grows: the one that was given, or, for a JSONL file, one beside it that begins with
        its items. None: the history is read only, or there is none."""
        path = self.args.history
        if path is None or (path.suffix == ".jsonl" and not self.args.interactive):
            return None
        if path.suffix != ".jsonl":
            return History(path)
        items = items_of_file(path, self.task)
        history = History(path.with_suffix(".db"))
        if not history.items(YOU, self.task):
            history.add(YOU, self.task, items)
        return history

    def items(self) -> tuple[Item, ...]:
        if self.history is not None:
            return self.history.items(YOU, self.task)
        return items_of_file(self.args.history, self.task) if self.args.history else ()

    @property
    def answerer(self):
        """The model, loaded at the first question: bad words and files are refused before."""
        if self._answerer is None:
            from .answering.answerer import Answerer
            self._answerer = Answerer(self.finished)
        return self._answerer

    def question(self, text: str) -> Question:
        config = self.finished.config
        return question_of(self.task, text, self.items(), config.lamp, config.seed, self.answerer.embed, YOU)

    # ------------------------------------------------------------ one question

    def ask(self, text: str) -> str | None:
        """Shows the answer to a text and what else was asked for; returns the answer as the task reads it."""
        question = self.question(text)
        stage = f"{self.finished.stage} of {self.finished.folder}"
        shown = min(len(question.retrieved), len(question.profile))
        print(f"{self.task.name}, {self.task.title}; {stage}; history: {len(question.profile)} items, "
              f"{shown} retrieved\n")
        written = self._write(question, with_profile=True)
        if self.args.without_profile:
            print("\nwithout the history:")
            self._write(question, with_profile=False)
        if self.args.prmu:
            own, generic = self.answerer.liking(question, written)
            print(f"\nPRMU: {own:.3f} under you, {generic:.3f} under the generic user")
        return self.task.parse_answer(written)

    def _write(self, question: Question, with_profile: bool) -> str:
        """Shows what the model writes, as it writes it."""
        from .answering.stream import TextStream
        view = ChainView(question, show, has_colour(sys.stdout))
        stream = TextStream(self.answerer.tokenizer, self.answerer.ends)  # the model is loaded here
        started = time.time()
        prompt, report = self.answerer.prompt(question, with_profile)
        if report.over_budget:
            raise UserError(f"the text has {report.tokens} tokens with its prompt, and prompt.max_tokens is "
                            f"{self.finished.config.prompt.max_tokens}")

        def listen(_: int, token: int) -> bool:
            view.add(stream.add(token))
            return True

        (sample,) = self.answerer.write([prompt], listen)
        view.end()
        if not sample.ended:
            print("(cut off: grpo.completion tokens are written)")
        print(f"{len(sample.ids)} tokens in {time.time() - started:.1f} s")
        return self.answerer.text(sample)

    # ------------------------------------------------------------ again and again

    def go_on(self) -> None:
        """Reads lines until there are no more."""
        if self.history is None:
            raise UserError("--interactive keeps what you say: give --history mine.db")
        print(HELP)
        if hasattr(sys.stdin, "reconfigure"):  # bytes that are no UTF-8 become "?", as on the command line
            sys.stdin.reconfigure(errors="surrogateescape")
        while (text := read_line("\nask> ")) is not None:
            try:
                if text == "/quit":
                    return
                if text.startswith("/"):
                    self.command(text)
                elif text:
                    self.learn(text, self.ask(text))
            except UserError as error:  # one question is wrong, not all
                print(f"error: {one_line(error)}")

    def learn(self, text: str, answer: str | None) -> None:
        """Asks whether the answer is right, and adds what the person says."""
        reply = read_line(f"is it yours? [Enter: {answer or 'no answer'}] ")
        if reply is None or reply == "-" or not (reply or answer):
            return
        label = label_of(self.task, reply or answer)
        self.history.add(YOU, self.task, [Item("", text, label)])
        print(f"item {self.items()[-1].id}: {label}")

    def command(self, line: str) -> None:
        """/history, /fix NUMBER ANSWER, /forget NUMBER."""
        name, _, rest = line.partition(" ")
        number, _, label = rest.strip().partition(" ")
        if name == "/history":
            for item in self.items():
                print(f"{item.id:>4s}  {one_line(item.label, 30):10s}  {one_line(item.text, 90)}")
        elif name == "/fix" and number.isdecimal():
            self.history.correct(YOU, self.task, item_number(number), label)
        elif name == "/forget" and number.isdecimal():
            self.history.remove(YOU, self.task, item_number(number))
        else:
            print(HELP)


def show(text: str) -> None:
    """Text for the terminal at once. The stream's own check would take the colours away; ChainView has
    checked what a model wrote."""
    getattr(sys.stdout, "stream", sys.stdout).write(text)
    sys.stdout.flush()


def read_line(prompt: str) -> str | None:
    """A line that the person writes, without blanks at its ends; None at the end of the input."""
    show(prompt)
    line = sys.stdin.readline()
    return line.strip() if line else None


if __name__ == "__main__":
    keep_memory()
    main()
