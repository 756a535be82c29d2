"""YAML as people write settings: values, lists and trees, without what makes a small file endless."""
from __future__ import annotations

from typing import Any

import yaml


class PlainLoader(yaml.SafeLoader):
    """Refuses aliases: nine lines of them stand for a billion values, and no setting needs one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "an alias (*name) is not allowed here", mark)
        return super().compose_node(parent, index)


def parse(text: str, loader: type[yaml.SafeLoader] = PlainLoader) -> Any:
    """The value that a YAML text stands for. ValueError, in one line, for whatever is wrong with it: PyYAML
    raises errors of its own, and others for a day that is none, thousands of digits or of brackets."""
    try:
        return yaml.load(text, Loader=loader)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise ValueError(" ".join(str(error)[:2000].split())) from None
