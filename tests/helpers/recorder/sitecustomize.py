"""Records what a step of a run reads, without the step's help: put this folder on PYTHONPATH and name a
folder in TAGPR_RECORDS. Python imports `sitecustomize` when it starts.

Every process writes <records>/<module>-<pid>.json at its end: {"step", "settings", "files"}, the settings
whose values were asked for, as dotted names, and the files that were opened for reading.
"""
import atexit
import json
import os
import sys
from pathlib import Path

# Code that takes a configuration as a whole, to copy, hash or write it: it computes nothing with the values.
WHOLESALE = ("dataclasses.py", "copy.py", "config/loading.py", "config/settings.py", "runs/metrics.py",
             "<string>")


def module() -> str:
    """What `python -m` was given, "tagpr_lite.steps.step3_sft" say; "" for any other process."""
    words = sys.orig_argv
    return words[words.index("-m") + 1] if "-m" in words[:-1] else ""


def record_settings(seen: set) -> None:
    from tagpr_lite.config import settings
    classes = {settings.Config: ""}
    for name in ("Lamp", "Prompt", "Model", "Tag", "SFT", "Reward", "GRPO", "Evaluate"):
        classes[getattr(settings, name)] = f"{name.lower()}."
    sections = {prefix[:-1] for prefix in classes.values() if prefix}

    for cls, prefix in classes.items():
        plain = cls.__getattribute__

        def asked(self, name, plain=plain, prefix=prefix, fields=frozenset(cls.__dataclass_fields__)):
            if name in fields and not (prefix == "" and name in sections):
                caller = sys._getframe(1).f_code.co_filename
                if not caller.endswith(WHOLESALE):
                    seen.add(prefix + name)
            return plain(self, name)
        cls.__getattribute__ = asked


def record_files(seen: set) -> None:
    def hook(event, args):
        if event == "open" and isinstance(args[0], str) and not (args[2] & (os.O_WRONLY | os.O_RDWR)):
            seen.add(os.path.abspath(args[0]))
    sys.addaudithook(hook)


if os.environ.get("TAGPR_RECORDS") and module().startswith("tagpr_lite.steps."):
    asked_for: set = set()
    opened: set = set()
    record_settings(asked_for)
    record_files(opened)

    def write() -> None:
        found = {"step": module(), "settings": sorted(asked_for), "files": sorted(opened)}
        path = Path(os.environ["TAGPR_RECORDS"]) / f"{module()}-{os.getpid()}.json"
        path.write_text(json.dumps(found))
    atexit.register(write)
