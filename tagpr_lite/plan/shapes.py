"""The sizes of models: known ones by name, others from a folder's config.json. No weights, no network."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config import Model, UserError
from ..engine.location import public_name

FAMILIES = ("qwen3", "qwen2", "llama", "mistral")  # their layers have the seven linear maps below


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes. inner: the MLP's width; tied: the head is the embedding table."""
    name: str
    family: str
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool

    @property
    def q(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv(self) -> int:
        return self.kv_heads * self.head_dim


SHAPES = {s.name.lower(): s for s in (
    Shape("smollm2", "llama", 576, 1536, 30, 9, 3, 64, 49152, True),
    Shape("Qwen3-0.6B", "qwen3", 1024, 3072, 28, 16, 8, 128, 151936, True),
    Shape("Qwen3-1.7B", "qwen3", 2048, 6144, 28, 16, 8, 128, 151936, True),
    Shape("Qwen3-4B", "qwen3", 2560, 9728, 36, 32, 8, 128, 151936, True),
    Shape("Qwen3-8B", "qwen3", 4096, 12288, 36, 32, 8, 128, 151936, False),
    Shape("Qwen3-14B", "qwen3", 5120, 17408, 40, 40, 8, 128, 151936, False),
    Shape("Qwen3-32B", "qwen3", 5120, 25600, 64, 64, 8, 128, 151936, False),
    Shape("Qwen2.5-1.5B", "qwen2", 1536, 8960, 28, 12, 2, 128, 151936, True),
    Shape("Qwen2.5-3B", "qwen2", 2048, 11008, 36, 16, 2, 128, 151936, True),
    Shape("Qwen2.5-7B", "qwen2", 3584, 18944, 28, 28, 4, 128, 152064, False))}


def shape_of(name: str) -> Shape:
    """The shape of a folder with config.json, or of a known model: Qwen3-4B, Qwen/Qwen3-4B,
    Qwen2.5-3B-Instruct."""
    if (Path(name) / "config.json").is_file():
        return _read(Path(name))
    known = SHAPES.get(name.rpartition("/")[2].lower().removesuffix("-instruct"))
    if known is None:
        raise UserError(f"the shape of model '{name}' is not known, and it is no folder with a config.json; "
                        f"known: {', '.join(s.name for s in SHAPES.values())}")
    return known


def _read(folder: Path) -> Shape:
    from transformers import AutoConfig
    try:
        c = AutoConfig.from_pretrained(folder, local_files_only=True)
        if c.model_type not in FAMILIES:
            raise UserError(f"{folder}: no memory formula for '{c.model_type}' models; "
                            f"known: {', '.join(FAMILIES)}")
        name = public_name(str(folder.resolve())).rpartition("/")[2]
        return Shape(name, c.model_type, c.hidden_size, c.intermediate_size,
                     c.num_hidden_layers, c.num_attention_heads, c.num_key_value_heads
                     or c.num_attention_heads, getattr(c, "head_dim", None)
                     or c.hidden_size // c.num_attention_heads, c.vocab_size, bool(c.tie_word_embeddings))
    except (OSError, ValueError, AttributeError, TypeError) as e:
        reason = str(e).splitlines()[0]
        raise UserError(f"{folder / 'config.json'} is no decoder's configuration: {reason}") from None


def linears(s: Shape) -> dict[str, tuple[int, int]]:
    """{name: (inputs, outputs)} of a layer's linear maps."""
    return {"q_proj": (s.hidden, s.q), "k_proj": (s.hidden, s.kv), "v_proj": (s.hidden, s.kv),
            "o_proj": (s.q, s.hidden), "gate_proj": (s.hidden, s.inner), "up_proj": (s.hidden, s.inner),
            "down_proj": (s.inner, s.hidden)}


def base_parameters(s: Shape) -> int:
    """Parameters of the linear maps of all layers: what NF4 packs."""
    return s.layers * sum(a * b for a, b in linears(s).values())


def adapter_parameters(s: Shape, settings: Model) -> int:
    wanted = settings.lora_targets.split(",")
    return s.layers * settings.lora_r * sum(sum(io) for name, io in linears(s).items()
                                            if settings.lora_targets == "all-linear" or name in wanted)
