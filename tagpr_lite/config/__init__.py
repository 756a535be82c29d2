"""Settings: what they are (settings.py), and how they are read (loading.py)."""
from .limits import is_plain_name, short
from .loading import PRESETS, UserError, fields, flatten, from_dict, load, to_dict
from .plain_yaml import WordLoader
from .plain_yaml import parse as parse_yaml
from .settings import GRPO, LAYOUTS, SFT, Config, Evaluate, Lamp, Model, Prompt, Reward, Tag
from .systems import ADAPTERS, System, parse_systems

__all__ = ["ADAPTERS", "GRPO", "LAYOUTS", "PRESETS", "SFT", "Config", "Evaluate", "Lamp", "Model", "Prompt",
           "Reward", "System", "Tag", "UserError", "WordLoader", "fields", "flatten", "from_dict",
           "is_plain_name", "load", "parse_systems", "parse_yaml", "short", "to_dict"]
