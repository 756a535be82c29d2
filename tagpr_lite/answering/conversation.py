"""Again and again: questions in a terminal, and what a person says to the answers."""
from __future__ import annotations

import select
import sys
from collections.abc import Callable

from ..config import UserError
from ..runs import one_line
from .history import item_number, label_of
from .own_history import OwnHistory

HELP = """an answer is yours when you press Enter; write another one to correct it, or - to leave it out
/history        your items    /fix 3 ANSWER   corrects item 3
/forget 3       removes it    /quit           ends
a line that begins with / is always one of these, never a text or an answer"""
PASTED = 0.05  # seconds in which further lines of a pasted text are there


class Conversation:
    """ask: shows the answer to a text, and returns it as the task reads it."""

    def __init__(self, history: OwnHistory, ask: Callable[[str], str | None]):
        self.history, self.ask = history, ask
        self.has_ended = False

    def go_on(self) -> None:
        """Reads questions until there are no more."""
        self.history.begin()
        print(HELP)
        prepare_input()
        while not self.has_ended and (text := read_text("\nask> ")) is not None:
            if text.startswith("/"):
                self.command(text)
            elif text:
                with_errors_said(lambda text=text: self.learn(text, self.ask(text)))

    def learn(self, text: str, answer: str | None) -> None:
        """Asks whether the answer is right, until the person has said so, and adds what they say."""
        offered = f"Enter: {answer}" if answer else "write yours, or - to leave it out"
        while not self.has_ended:
            reply = read_line(f"is it yours? [{offered}] ")
            if reply is None or reply == "-" or not (reply or answer):
                return
            if reply.startswith("/"):
                self.command(reply)
            elif with_errors_said(lambda reply=reply: self.keep(text, reply or answer)):
                return

    def keep(self, text: str, label: str) -> None:
        label_of(self.history.task, label)  # a mistyped one is asked for again
        item = self.history.add(text, label)
        print(f"item {item.id}: {item.label}")

    def command(self, line: str) -> None:
        """/history, /fix NUMBER ANSWER, /forget NUMBER, /quit."""
        name, _, rest = line.partition(" ")
        number, _, label = rest.strip().partition(" ")
        if name == "/quit":
            self.has_ended = True
        elif name == "/history":
            for item in self.history.items():
                print(f"{item.id:>4s}  {one_line(item.label):10s}  {one_line(item.text, 90)}")
            if not self.history.items():
                print("no items yet")
        elif name == "/fix" and number.isdecimal():
            with_errors_said(lambda: self.fix(number, label))
        elif name == "/forget" and number.isdecimal():
            with_errors_said(lambda: self.forget(number))
        else:
            print(HELP)

    def fix(self, number: str, label: str) -> None:
        corrected = self.history.correct(item_number(number), label)
        print(f"item {number} is now: {corrected}")

    def forget(self, number: str) -> None:
        self.history.remove(item_number(number))
        print(f"item {number} is forgotten")


def with_errors_said(work: Callable[[], None]) -> bool:
    """Does the work, and says whether it went well: one input is wrong, and not all that follow."""
    try:
        work()
    except UserError as error:
        print(f"error: {one_line(error)}")
        return False
    return True


# ---------------------------------------------------------------- what is typed

def prepare_input() -> None:
    """Lets arrow keys edit a line, where Python can. Bytes that are no UTF-8 become "?", as on the command
    line."""
    if sys.stdin.isatty():
        try:
            import readline  # noqa: F401  (input() uses it from now on)
        except ImportError:
            pass
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="surrogateescape")


def read_line(prompt: str) -> str | None:
    """A line that the person writes, without blanks at its ends; None at the end of the input."""
    try:
        return input(prompt).strip()
    except EOFError:
        return None


def read_text(prompt: str) -> str | None:
    """A line, or all lines of a text that is pasted into a terminal: the second of them is no answer."""
    first = read_line(prompt)
    if not first or first.startswith("/"):
        return first
    lines = [first]
    while is_pasted() and (line := read_line("")) is not None:
        lines.append(line)
    return "\n".join(lines).strip()


def is_pasted() -> bool:
    """Whether a further line is waiting on the terminal, sooner than anybody could write it."""
    return sys.stdin.isatty() and bool(select.select([sys.stdin], [], [], PASTED)[0])
