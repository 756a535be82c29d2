"""The parts of the self-test: which there are, their order, how long each may take, what each depends on."""
from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import metadata

from ..config import UserError
from ..plan.shapes import SHAPES, Shape

FAMILIES = ("layouts", "nf4", "plan", "speed")
AGAINST = "trl"
# Seconds after which a part is stopped.
BOUNDS = {"layouts": 90, "nf4": 60, "plan": 150, "speed": 120, AGAINST: 240}
MINUTES = {False: 5, True: 15}  # of all parts together: the self-test alone, and with TRL beside it
VERSIONS = ("torch", "transformers", "bitsandbytes", "peft", "trl")
# What a CPU can do in a few seconds, and what the exactness of the layouts is looked at with: Qwen3's head
# size and sharing of key heads in a model of four layers.
SMALL = Shape("small", "qwen3", 256, 512, 4, 4, 2, 128, 2048, True)


@dataclass(frozen=True)
class Sizes:
    """Shapes by name, the most wanted first; prompt: tokens in `plan` and `speed`; prompts: tokens in the
    cells against TRL, the most wanted first."""
    shapes: tuple[str, ...]
    prompt: int
    prompts: tuple[int, ...]
    group: int
    completion: int


ON_A_CARD = Sizes(("Qwen3-4B", "Qwen3-1.7B", "Qwen3-0.6B"), 2048, (4096, 8192, 2048, 1024), 8, 256)
ON_A_CPU = Sizes((SMALL.name,), 64, (64, 96), 2, 16)


@dataclass(frozen=True)
class Part:
    """family: layouts, nf4, plan, speed or trl. P tokens of prompt, G completions of R tokens; 0 where the
    part has none."""
    family: str
    shape: str = ""
    prompt: int = 0
    group: int = 0
    completion: int = 0

    @property
    def name(self) -> str:
        """"trl Qwen3-4B, prompt 4096"."""
        prompt = f", prompt {self.prompt}" if self.family == AGAINST else ""
        return f"{self.family} {self.shape}{prompt}".strip()

    @property
    def bound(self) -> int:
        return BOUNDS[self.family]


def shape_named(name: str) -> Shape:
    """A shape of SHAPES, or the small one."""
    return SMALL if name == SMALL.name else SHAPES[name.lower()]


def sizes_of(words: str, prompts: str, sizes: Sizes) -> Sizes:
    """The sizes with the shapes and prompts of the command line, "Qwen3-4B,Qwen3-1.7B" and "4096,1024", in
    the place of the usual ones. UserError: an unknown shape, or no number of tokens."""
    known = {shape.name.lower(): shape.name for shape in (SMALL, *SHAPES.values())}
    shapes = split(words) or list(sizes.shapes)
    for word in shapes:
        if word.lower() not in known:
            raise UserError(f"--shapes {word}: known are {', '.join(known.values())}")
    lengths = split(prompts) or [str(length) for length in sizes.prompts]
    for word in lengths:
        if not (word.isdecimal() and 16 <= int(word) <= 32768):
            raise UserError(f"--prompts {word}: numbers of tokens from 16 to 32768, separated by commas")
    return Sizes(tuple(known[word.lower()] for word in shapes), sizes.prompt, tuple(map(int, lengths)),
                 sizes.group, sizes.completion)


def split(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def chosen_families(only: str, against: str) -> list[str]:
    """The families of `--only`; all of them where nothing is asked for. UserError: an unknown one."""
    families = split(only)
    for word in families:
        if word not in FAMILIES:
            raise UserError(f"--only {word}: known are {', '.join(FAMILIES)}")
    return families or ([] if against else list(FAMILIES))


def parts_of(families: list[str], against: str, sizes: Sizes) -> list[Part]:
    """The parts in the order in which they run: the self-test, then the cells, shape by shape."""
    parts = []
    for family in [family for family in FAMILIES if family in families]:
        if family in ("layouts", "nf4"):
            parts.append(Part(family))
        else:
            parts += [Part(family, shape, sizes.prompt, sizes.group, sizes.completion)
                      for shape in sizes.shapes]
    if against:
        parts += [Part(AGAINST, shape, prompt, sizes.group, sizes.completion)
                  for shape in sizes.shapes for prompt in sizes.prompts]
    return parts


def setting_of(part: Part, device: str) -> dict:
    """What a part's figures depend on: its sizes, the card (or `cpu`), and the versions."""
    versions = {}
    for package in VERSIONS:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return asdict(part) | {"device": device, "versions": versions}
