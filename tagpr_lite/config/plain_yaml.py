"""YAML as people write settings: values, lists and trees, without what makes a small file endless."""
from __future__ import annotations

from typing import Any

import yaml


class NoAliases:
    """Refuses aliases: nine lines of them stand for a billion values, and no setting needs one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "an alias (*name) is not allowed here", mark)
        return super().compose_node(parent, index)


class PlainLoader(NoAliases, yaml.SafeLoader):
    """Numbers, dates and yes or no have their types, as YAML 1.1 has them."""


class WordLoader(NoAliases, yaml.BaseLoader):
    """Every scalar stays the word that was written: `yes` is "yes", 01 is "01"."""


def parse(text: str, loader: type = PlainLoader) -> Any:
    """The value that a YAML text stands for. ValueError, in one line, for whatever is wrong with it: PyYAML
    raises errors of its own, and others for a day that is none, thousands of digits or of brackets."""
    try:
        return yaml.load(text, Loader=loader)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError(" ".join(str(error)[:2000].split())) from None
