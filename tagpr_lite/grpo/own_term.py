"""A person's own term of the reward: a function in a file of theirs (grpo.reward=my_terms.py:brevity).

    def brevity(text, question):
        return 1.0 if len(text) < 400 else 0.5

    text        a whole completion, with its thought and its answer
    question    what was asked: a Question (lamp/tasks.py) with input, gold, user, profile and task
    result      a number from 0 to 1; True and False are 1 and 0

The file is run once, before anything is trained. Whatever is wrong with it, or with a result, is said in one
line. A stage that goes on after a cut repeats some steps: its results are those of an undisturbed stage only
where the function gives the same number for the same text and question.
"""
from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

from ..config import UserError, short
from ..lamp.tasks import Question
from ..runs import one_line

MODULE = "tagpr_own_term"  # what the file is called among Python's modules


def file_of(reference: str) -> Path:
    """The file of FILE.py:FUNCTION. UserError: there is none."""
    path = Path(reference.rpartition(":")[0])
    if not path.is_file():
        raise UserError(f"grpo.reward: {path} is not a file")
    return path


class OwnTerm:
    """The term: called with a completion's text and its question, it gives a number from 0 to 1."""

    def __init__(self, reference: str):
        """reference: FILE.py:FUNCTION. UserError: there is no such function of two arguments."""
        self.reference = reference
        path = file_of(reference)
        name = reference.rpartition(":")[2]
        module = run_file(path)
        if not hasattr(module, name):
            raise UserError(f"grpo.reward: {path} has no {name}")
        self.function = getattr(module, name)
        if not takes_two(self.function):
            raise UserError(f"grpo.reward: {reference} is no function of two arguments, (text, question)")

    def __call__(self, text: str, question: Question) -> float:
        try:
            value = self.function(text, question)
        except (Exception, SystemExit) as error:
            raise UserError(f"grpo.reward: {self.reference} raised {described(error)} for question "
                            f"{question.id}") from error
        if not isinstance(value, Real) or not 0 <= value <= 1:  # NaN is refused too
            raise UserError(f"grpo.reward: {self.reference} returned {shown(value)} for question "
                            f"{question.id}; it must be a number from 0 to 1")
        return float(value)


def run_file(path: Path) -> ModuleType:
    """The module that a file of Python makes. Its own text is compiled: bytecode that Python may have kept of
    it can be of an older text."""
    spec = importlib.util.spec_from_file_location(MODULE, path)
    try:
        code = spec.loader.source_to_code(spec.loader.get_data(str(path)), str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"grpo.reward: {path} is no Python: {described(error)}") from error
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # dataclasses look for the module that they are in
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:
        raise UserError(f"grpo.reward: {path} cannot be loaded: {described(error)}") from error
    return module


def takes_two(function: Any) -> bool:
    """Whether it can be called with two arguments, and is no class."""
    if not isinstance(function, Callable) or inspect.isclass(function):
        return False
    try:
        inspect.signature(function).bind("text", "question")
    except (TypeError, ValueError):
        return False
    return True


def described(error: BaseException) -> str:
    """An error in a line: "KeyError: 'score'"."""
    return one_line(f"{type(error).__name__}: {error}", 200)


def shown(value: Any) -> str:
    """A result that is none: "1.5", "'high'", "None", "a Tensor"."""
    is_plain = isinstance(value, (Real, str)) or value is None
    return short(value) if is_plain else f"a {type(value).__name__}"
