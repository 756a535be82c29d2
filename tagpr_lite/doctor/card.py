"""The card, its driver and torch: what there is, and what to install.

`facts` asks torch and nvidia-smi; `checks_of` judges, and is a function of the facts alone, so that every
kind of machine can be tested on one that has no card.
"""
from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..config import Model, UserError
from ..runs import one_line
from .packages import Check

GIB = 2**30
NVIDIA = "0x10de"  # the vendor's number on the PCI bus
DISPLAY = "0x03"  # devices of class 03 are display controllers
SMI_SECONDS = 8
FREE_SHARE = 0.8  # of the card's memory: with less, something else is using the card


@dataclass(frozen=True)
class Card:
    """What torch says of the first card. capability: (9, 0). archs: what torch was built for, "sm_90".
    total, free: bytes."""
    name: str
    capability: tuple[int, int]
    bf16: bool
    total: int
    free: int
    archs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """torch: its version, None where it is missing. torch_error: why it cannot be imported. cuda: what torch
    was built for, "13.0", None of a CPU build. smi: (card, driver) of nvidia-smi, None where there is none.
    smi_error: what it said when it failed. on_bus: an NVIDIA card is on the PCI bus. card: what torch can
    use. cuda_error: why torch cannot."""
    torch: str | None = None
    torch_error: str = ""
    cuda: str | None = None
    smi: tuple[str, str] | None = None
    smi_error: str = ""
    on_bus: bool = False
    card: Card | None = None
    cuda_error: str = ""


# ---------------------------------------------------------------- asking

def facts() -> Facts:
    """What torch and nvidia-smi say of this machine. torch is imported here, some three seconds."""
    smi, smi_error = ask_smi()
    asked = {"smi": smi, "smi_error": smi_error, "on_bus": card_on_bus()}
    try:
        import torch
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        return Facts(torch_error="" if missing else one_line(error, 200), **asked)
    except OSError as error:  # a library of CUDA that torch links to is not there
        return Facts(torch_error=one_line(error, 200), **asked)
    asked |= {"torch": torch.__version__, "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        return Facts(card=ask_card(torch), **asked)
    cuda_error = ""
    if torch.version.cuda:
        try:
            torch.cuda.init()
        except Exception as error:  # torch has several classes for a driver that is missing, old or at odds
            cuda_error = one_line(error, 200)
    return Facts(cuda_error=cuda_error, **asked)


def ask_card(torch) -> Card:
    properties = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info(0)
    return Card(properties.name, (properties.major, properties.minor), torch.cuda.is_bf16_supported(), total,
                free, tuple(torch.cuda.get_arch_list()))


def ask_smi() -> tuple[tuple[str, str] | None, str]:
    """((card, driver), "") of nvidia-smi on the PATH; (None, what it said) where it fails; (None, "") where
    there is none."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None, ""
    question = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(question, capture_output=True, text=True, timeout=SMI_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, one_line(error, 200)
    name, comma, driver = said.stdout.partition("\n")[0].rpartition(",")
    if said.returncode or not comma:
        return None, one_line(said.stdout + said.stderr, 200) or f"exit code {said.returncode}"
    return (one_line(name, 80), one_line(driver, 40)), ""


def card_on_bus(bus: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether Linux sees an NVIDIA display controller, with or without a driver."""
    for vendor in bus.glob("*/vendor"):
        try:
            kind = (vendor.parent / "class").read_text()
            if vendor.read_text().strip() == NVIDIA and kind.startswith(DISPLAY):
                return True
        except OSError:  # a device that has just gone
            continue
    return False


# ---------------------------------------------------------------- judging

def checks_of(facts: Facts) -> list[Check]:
    """The lines on torch, driver, card and its memory."""
    return [torch_check(facts), *([] if facts.card else [no_card_check(facts)]),
            *(card_checks(facts.card, facts.smi) if facts.card else [])]


def torch_check(facts: Facts) -> Check:
    if facts.torch is None:
        if facts.torch_error:
            return Check("torch", "attention", f"cannot be imported: {facts.torch_error}",
                         "install torch again: python -m pip install --force-reinstall torch")
        return Check("torch", "attention", "missing", "install the packages (the line above)")
    if facts.cuda:
        built = f"built for CUDA {facts.cuda}"
    else:
        built = "not built for CUDA" if facts.card else "built for the CPU only"
    found = f"{facts.torch}, {built}"
    has_card = bool(facts.smi or facts.on_bus)
    if facts.cuda is None and has_card and not facts.card:
        what = f"{facts.smi[0]}, driver {facts.smi[1]}" if facts.smi else "an NVIDIA card"
        return Check("torch", "attention", f"{found}, and this machine has {what}",
                     "install torch's CUDA build: python -m pip install --force-reinstall "
                     f"torch=={facts.torch.split('+')[0]} --index-url URL, where URL is what PyTorch's page "
                     "'Get started' names for the CUDA version in the first lines of nvidia-smi")
    return Check("torch", "ok", found)


def no_card_check(facts: Facts) -> Check:
    """Why torch has no card to use."""
    if facts.smi_error:
        return Check("driver", "attention", f"nvidia-smi fails: {facts.smi_error}",
                     "restart the machine after an update of the driver, or install the driver again")
    if facts.smi and facts.cuda:
        return Check("driver", "attention",
                     f"{facts.smi[0]}, driver {facts.smi[1]}, and torch cannot use the card"
                     + (f": {facts.cuda_error}" if facts.cuda_error else ""),
                     f"update the driver to one that runs CUDA {facts.cuda}, or install the torch build for "
                     "the CUDA version in the first lines of nvidia-smi; CUDA_VISIBLE_DEVICES must not hide "
                     "the card")
    if facts.smi:
        return Check("driver", "ok", f"{facts.smi[0]}, driver {facts.smi[1]}")
    if facts.on_bus:
        return Check("driver", "attention", "an NVIDIA card is here, and no driver (nvidia-smi)",
                     "install NVIDIA's driver" + (f" for CUDA {facts.cuda}" if facts.cuda else "")
                     + ", and restart the machine")
    return Check("card", "note", "none", "bash run_all.sh takes the preset cpu: SmolLM2-135M, no card needed")


def card_checks(card: Card, smi: tuple[str, str] | None = None) -> list[Check]:
    """Name and compute capability, bf16, memory and the model that follows."""
    found = f"{card.name}, compute capability {card.capability[0]}.{card.capability[1]}"
    if smi:
        found += f", driver {smi[1]}"
    checks = [Check("card", "ok", found)]
    if card.archs and not is_covered(card.capability, card.archs):
        checks = [Check("card", "attention", f"{found}; torch is built for {', '.join(card.archs)}",
                        "install a torch build whose list names this card's capability or an older one of "
                        "its own generation")]
    if card.bf16:
        checks.append(Check("bf16", "ok", "supported"))
    else:
        checks.append(Check("bf16", "note", "not supported",
                            "everything is computed in fp32: slower, and with more memory than the plan "
                            "counts; lower model.vram if memory runs out"))
    checks.append(memory_check(card))
    return checks


def is_covered(capability: tuple[int, int], archs: tuple[str, ...]) -> bool:
    """Whether a build for `archs` runs on the card: code for the same generation and no newer (sm_80 runs on
    8.6), or code that the driver translates (compute_80 runs on everything from 8.0 on)."""
    major, minor = capability
    for arch in archs:
        kind, _, digits = arch.partition("_")
        digits = digits.rstrip("af")  # sm_90a: for one generation alone
        if not digits.isdigit() or len(digits) < 2:
            continue
        built = int(digits[:-1]), int(digits[-1])
        if kind == "sm" and built[0] == major and built[1] <= minor:
            return True
        if kind == "compute" and built <= (major, minor):
            return True
    return False


def memory_check(card: Card) -> Check:
    """Memory, the budget that follows from what is free, and the model that `auto` means."""
    from ..engine.location import budget, sized
    found = f"{card.free / GIB:.1f} of {card.total / GIB:.1f} GiB free"
    try:
        found += f"; budget {budget(Model()):.1f} GiB, model auto is {sized(Model(name='auto'))}"
    except UserError as error:
        return Check("card's memory", "attention", found, str(error))
    if not card.free >= FREE_SHARE * card.total:
        return Check("card's memory", "attention", found, "something else is using the card: nvidia-smi "
                     "names the processes; the budget and the model follow from what is free")
    return Check("card's memory", "ok", found)
