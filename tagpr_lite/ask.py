"""Ask a finished run, with your own history.

    python -m tagpr_lite.ask --run results/cpu --task 3 --history mine.jsonl "It broke after a day."
    python -m tagpr_lite.ask --run results/cpu --task 3 --history mine.db --interactive

The chain is shown while it is written, each claim about your history marked true or false where it can be
checked, then the answer. mine.jsonl holds one item a line, with the keys of the task's files: {"text",
"score"} of LaMP_3. mine.db is a history that grows: with --interactive, what you accept or correct joins it,
and the next answer knows it, without training.
"""
from __future__ import annotations

from .runs.commands import begin_command
from .runs.stopping import STOPPED_SIMPLY

if __name__ == "__main__":  # before the imports that are slow: Ctrl-C within them is one line
    begin_command(STOPPED_SIMPLY)

import argparse
import sys
import time
from pathlib import Path

from .answering.conversation import Conversation
from .answering.own_history import YOU, OwnHistory
from .answering.run import STAGES, FinishedRun, open_run, question_of
from .answering.terminal import ChainView, has_colour
from .config import UserError
from .lamp.tasks import Question, Task
from .runs import guard


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
        Conversation(session.history, session.ask).go_on()


class Session:
    """One person who asks about one task."""

    def __init__(self, finished: FinishedRun, task: Task, args: argparse.Namespace):
        self.finished, self.task, self.args = finished, task, args
        self.history = OwnHistory(args.history, task, grows=args.interactive)
        self._answerer = None

    @property
    def answerer(self):
        """The model, loaded at the first question: bad words and files are refused before."""
        if self._answerer is None:
            from .answering.answerer import Answerer
            self._answerer = Answerer(self.finished)
        return self._answerer

    def question(self, text: str) -> Question:
        config = self.finished.config
        return question_of(self.task, text, self.history.items(), config.lamp, config.seed,
                           self.answerer.embed, YOU)

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
            better = "you" if own > generic else "the generic user"
            print(f"\nPRMU: {own:.3f} under you, {generic:.3f} under the generic user, in logits; the "
                  f"difference is {own - generic:+.3f}, and so the chain fits {better} better")
        answer = self.task.parse_answer(written)
        if answer is None:
            print("no answer could be read")
        return answer

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
            print(f"(cut off: an answer may have {self.answerer.room} tokens)")
        print(f"{len(sample.ids)} tokens in {time.time() - started:.1f} s")
        return self.answerer.text(sample)


def show(text: str) -> None:
    """Text for the terminal at once. The stream's own check would take the colours away; ChainView has
    checked what a model wrote."""
    getattr(sys.stdout, "stream", sys.stdout).write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
