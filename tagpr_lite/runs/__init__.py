"""The run folder, the only interface between steps: files, manifests, metrics, seeds, and the front of every
command."""
from .commands import MALLOC, as_command, cli, guard, keep_memory, progress
from .files import (
    append_jsonl,
    cache_folder,
    digest,
    fingerprint,
    free_bytes,
    read_json,
    read_jsonl,
    whole_file,
    whole_folder,
    write_json,
    write_jsonl,
    write_text,
)
from .manifests import accept_changes
from .metrics import drop_metrics, log_metrics, read_config, read_metrics, save_config
from .numbers import require_finite_number
from .owner import VARIABLE as OWNER
from .seeds import seed_of
from .steps import run_step
from .stopping import finishing_steps
from .text import duration, one_line, printable, whole_characters
from .waiting import within

__all__ = ["MALLOC", "OWNER", "accept_changes", "append_jsonl", "as_command", "cache_folder", "cli",
           "digest", "drop_metrics", "duration", "fingerprint", "finishing_steps", "free_bytes", "guard",
           "keep_memory", "log_metrics", "one_line", "printable", "progress", "read_config", "read_json",
           "read_jsonl", "read_metrics", "require_finite_number", "run_step", "save_config", "seed_of",
           "whole_characters", "whole_file", "whole_folder", "within", "write_json", "write_jsonl",
           "write_text"]
