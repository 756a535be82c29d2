"""Python and the packages, against requirements.txt. The standard library alone: this file must work where
nothing is installed yet."""
from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
LEAST_PYTHON = (3, 11)
PIN = re.compile(r"([A-Za-z0-9_.-]+)==(\S+)")


@dataclass(frozen=True)
class Check:
    """One line of what is here. state: `ok`; `note`, the method runs without it; or `attention`. found: what
    there is, "23 GiB". advice: what to do, empty where it is ok."""
    name: str
    state: str
    found: str
    advice: str = ""

    @property
    def line(self) -> str:
        """"ok         CPU: 2 cores", for a terminal."""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.state:10s} {self.name}: {self.found}{advice}"


def look_at_python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= LEAST_PYTHON:
        return Check("Python", "ok", found)
    least = ".".join(map(str, LEAST_PYTHON))
    return Check("Python", "attention", found, f"install Python {least} or newer, and make the environment "
                                               "anew with it")


def pins(requirements: Path = REQUIREMENTS) -> dict[str, str]:
    """{package: pinned version} of requirements.txt; comments are no packages."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    found = [PIN.fullmatch(line.split("#")[0].strip()) for line in lines]
    return {match[1]: match[2] for match in found if match}


def present_version(package: str) -> str | None:
    """The installed version, None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def look_at_packages(requirements: Path = REQUIREMENTS) -> list[Check]:
    """A line that counts the packages that are as pinned, one for those that are missing, and one for other
    versions. A build's own suffix is no other version: 2.13.0+cu130 is 2.13.0."""
    pinned = pins(requirements)
    present = {package: present_version(package) for package in pinned}
    missing = [package for package in pinned if present[package] is None]
    others = [package for package in pinned
              if package not in missing and present[package].split("+")[0] != pinned[package]]
    right = len(pinned) - len(missing) - len(others)
    command = f"{sys.executable} -m pip install"
    checks = [Check("packages", "ok", f"{right} of {len(pinned)} are as requirements.txt pins them")]
    if missing:
        wanted = " ".join(f"{package}=={pinned[package]}" for package in missing)
        checks.append(Check("missing packages", "attention", ", ".join(missing), f"{command} {wanted}"))
    if others:
        found = ", ".join(f"{package} {present[package]} (pinned: {pinned[package]})" for package in others)
        wanted = " ".join(f"{package}=={pinned[package]}" for package in others)
        checks.append(Check("other versions", "attention", found,
                            f"{command} {wanted}; the tests and figures are of the pinned versions"))
    return checks
