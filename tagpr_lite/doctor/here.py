"""What is here, asked at the same time: torch is imported while the network is waited for."""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from . import card, machine, reach
from .packages import Check, look_at_packages, look_at_python


def look() -> tuple[list[Check], str | None]:
    """(all lines, the name of the card that torch can use, None where there is none)."""
    smi, _ = card.ask_smi()
    with ThreadPoolExecutor(1) as pool:
        # Whether the preset gpu is meant is asked of nvidia-smi: torch is not imported yet.
        network = pool.submit(reach.look_at_reach, needed=smi is not None)
        facts = card.facts()
        checks, data_bytes = network.result()
    here = [look_at_python(), *look_at_packages(), *card.checks_of(facts), *machine.look_at_machine(),
            *machine.look_at_disks(facts.card is not None, hub_cache(), data_bytes), *checks]
    return here, facts.card.name if facts.card else None


def hub_cache() -> Path | None:
    """Where the hub's library keeps models; None where it is not installed."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return None
    return Path(constants.HF_HUB_CACHE)


def is_installed(module: str) -> bool:
    return find_spec(module) is not None
