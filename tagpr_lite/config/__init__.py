"""Settings: what they are (settings.py), and how they are read (loading.py)."""
from .loading import PRESETS, UserError, fields, flatten, from_dict, load, to_dict
from .settings import GRPO, LAYOUTS, SFT, Config, Evaluate, Lamp, Model, Prompt, Reward, Tag

__all__ = ["GRPO", "LAYOUTS", "PRESETS", "SFT", "Config", "Evaluate", "Lamp", "Model", "Prompt", "Reward",
           "Tag", "UserError", "fields", "flatten", "from_dict", "load", "to_dict"]
