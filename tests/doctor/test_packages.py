"""Python and packages: missing ones, other versions, builds; and a doctor that starts where nothing is
installed."""
import os
import subprocess
import sys
from importlib import metadata

import pytest

from tagpr_lite.doctor import packages
from tagpr_lite.doctor.packages import look_at_packages, look_at_python, pins

# A finder that hides modules, in a process of its own: sitecustomize is imported before anything else.
HIDING = """
import os, sys
from importlib.machinery import PathFinder
class Hiding:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in os.environ["HIDDEN"].split(","):
            return PathFinder.find_spec(name, path, target)
    find_distributions = PathFinder.find_distributions
sys.meta_path = [finder for finder in sys.meta_path if finder is not PathFinder] + [Hiding]
"""


@pytest.fixture
def requirements(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("# a comment\nalpha==1.2.0\nbeta==3.0\n\n# why\ngamma==0.5\n")
    return path


def installed(monkeypatch, versions):
    def version(package):
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]
    monkeypatch.setattr(packages.metadata, "version", version)


def test_pins_are_read_and_comments_are_none(requirements):
    assert pins(requirements) == {"alpha": "1.2.0", "beta": "3.0", "gamma": "0.5"}
    assert {"torch", "trl", "PyYAML"} <= set(pins())


def test_packages_as_pinned_are_ok_and_a_builds_suffix_is_no_version(requirements, monkeypatch):
    installed(monkeypatch, {"alpha": "1.2.0+cu130", "beta": "3.0", "gamma": "0.5"})
    check, = look_at_packages(requirements)
    assert check.state == "ok" and check.found.startswith("3 of 3 ")


def test_missing_and_other_versions_are_named_with_the_command(requirements, monkeypatch):
    installed(monkeypatch, {"alpha": "1.10.0", "gamma": "0.5"})
    right, missing, others = look_at_packages(requirements)
    assert right.found.startswith("1 of 3 ")
    assert (missing.state, missing.found) == ("attention", "beta") and missing.advice.endswith(
        "-m pip install beta==3.0")
    assert others.state == "attention" and others.found == "alpha 1.10.0 (pinned: 1.2.0)"
    assert "pip install alpha==1.2.0;" in others.advice


@pytest.mark.parametrize("version, state", [((3, 10, 9), "attention"), ((3, 11, 0), "ok"),
                                            ((3, 20, 1), "ok")])
def test_an_old_python_needs_attention(monkeypatch, version, state):
    monkeypatch.setattr(packages.sys, "version_info", version)
    assert look_at_python().state == state


def doctor_without(hidden, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    return subprocess.run([sys.executable, "-m", "tagpr_lite.doctor", "--to", str(tmp_path / "to"), "--cpu"],
                          capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": path, "HIDDEN": ",".join(hidden)})


def test_the_doctor_starts_where_no_package_is(tmp_path):
    """Without PyYAML no setting can be read: Python and packages are looked at, nothing else."""
    done = doctor_without(["yaml"], tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Python: " in done.stdout and "nothing else can be looked at" in done.stdout


def test_the_doctor_does_without_every_other_package(tmp_path):
    hidden = [package.replace("-", "_") for package in pins() if package != "PyYAML"]
    hidden += ["huggingface_hub", "sklearn", "rouge_score", "jinja2", "tokenizers"]
    done = doctor_without(hidden, tmp_path)
    assert "Traceback" not in done.stderr and done.returncode in (0, 1), done.stderr
    assert "attention  torch: missing" in done.stdout and "the self-test is left out: torch" in done.stdout
    assert (tmp_path / "to/doctor.md").exists()
