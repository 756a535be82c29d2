"""The built-in benchmark: questions in LaMP's exact form whose answer depends on a hidden, known rule of the
user.

Decisions. It exists so that personalization can be seen to work in minutes, offline, with a known ceiling;
scores on it are never LaMP scores. A user has one rule out of a small set (which subjects they work on, what
a theme means to them, how strictly they judge, how they phrase things) and every text carries the answer that
each rule would give. So the best answers with and without the profile are computed, not guessed (reach.py),
and any answer can be ranked by the hidden rule (`rules_of`). All texts are made from word lists; a task is
one function that writes a user's texts, in a module named for its subject. It has the seven shapes of LaMP
and an eighth of ours, shop_reviews, which is never trained on; Chinese twins of all eight are our extension
too.
"""
from .people import LANGUAGES, PEOPLE, PROFILE, WRITERS, User, build, rules_of, tasks_of, users_of
from .reach import describe, references
from .text import Text

__all__ = ["LANGUAGES", "PEOPLE", "PROFILE", "WRITERS", "Text", "User", "build", "describe", "references",
           "rules_of", "tasks_of", "users_of"]
