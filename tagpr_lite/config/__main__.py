"""python -m tagpr_lite.config: every setting with its default and its help."""
import textwrap

import yaml

from . import fields


def main() -> None:
    for key, default, help_text in fields():
        default_text = yaml.safe_dump(default, default_flow_style=True).split("\n")[0]
        print(f"{key} = {default_text}")
        print(textwrap.fill(" ".join(help_text.split()), 118, initial_indent="    ",
                            subsequent_indent="    "))


if __name__ == "__main__":
    main()
