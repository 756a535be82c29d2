"""The card and its driver, judged from made-up facts and from a false nvidia-smi: no card is needed."""
from types import SimpleNamespace

import pytest

from tagpr_lite.doctor import card
from tagpr_lite.doctor.card import Card, Facts, ask_smi, card_on_bus, checks_of, is_covered
from tagpr_lite.engine import location

GIB = card.GIB
SMI = ("NVIDIA RTX 4070", "570.86")


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Puts a false nvidia-smi on the PATH, alone."""
    def put(script):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return put


def one(facts, name):
    check, = [check for check in checks_of(facts) if check.name == name]
    return check


# ---------------------------------------------------------------- asking

def test_nvidia_smi_is_asked_for_card_and_driver(smi):
    assert ask_smi() == (None, "")
    smi("echo 'NVIDIA RTX 4070, 570.86'; echo 'another, 570.86'")
    assert ask_smi() == (SMI, "")


def test_what_a_failing_nvidia_smi_says_is_kept(smi):
    smi("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    assert ask_smi() == (None, "Failed to initialize NVML: Driver/library version mismatch")
    smi("exit 9")
    assert ask_smi() == (None, "exit code 9")


def test_a_hanging_nvidia_smi_is_given_up(smi, monkeypatch):
    monkeypatch.setattr(card, "SMI_SECONDS", 0.2)
    smi("exec /bin/sleep 5")
    found, error = ask_smi()
    assert found is None and "timed out" in error


def test_a_cpu_torch_beside_a_card_is_found_by_facts(smi):
    """The torch of these tests may be any build: what it says is in the facts."""
    smi("echo 'NVIDIA RTX 4070, 570.86'")
    found = card.facts()
    assert found.smi == SMI and found.torch
    if found.cuda is None:
        assert one(found, "torch").state == "attention"


@pytest.mark.parametrize("vendor, kind, found", [("0x10de", "0x030000", True), ("0x10de", "0x040300", False),
                                                 ("0x1002", "0x030000", False)])
def test_a_card_on_the_bus_is_a_display_controller_of_nvidia(tmp_path, vendor, kind, found):
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0/vendor").write_text(f"{vendor}\n")
    (tmp_path / "0000:01:00.0/class").write_text(f"{kind}\n")
    assert card_on_bus(tmp_path) is found


# ---------------------------------------------------------------- judging

def test_no_card_is_a_note():
    checks = checks_of(Facts(torch="2.13.0+cpu"))
    assert [(check.name, check.state) for check in checks] == [("torch", "ok"), ("card", "note")]


def test_a_cpu_torch_on_a_machine_with_a_card_says_what_to_install():
    check = one(Facts(torch="2.13.0+cpu", smi=SMI), "torch")
    assert check.state == "attention" and "RTX 4070" in check.found
    assert "--force-reinstall torch==2.13.0 --index-url URL" in check.advice
    assert one(Facts(torch="2.13.0+cpu", on_bus=True), "driver").state == "attention"


def test_a_card_without_a_driver_and_a_driver_that_is_too_old():
    none = one(Facts(torch="2.13.0+cu130", cuda="13.0", on_bus=True), "driver")
    assert none.state == "attention" and "for CUDA 13.0" in none.advice
    old = one(Facts(torch="2.13.0+cu130", cuda="13.0", smi=SMI, cuda_error="driver too old"), "driver")
    assert old.state == "attention" and "driver too old" in old.found and "CUDA 13.0" in old.advice
    broken = one(Facts(torch="2.13.0+cu130", cuda="13.0", smi_error="NVML mismatch"), "driver")
    assert broken.state == "attention" and "restart" in broken.advice


def test_a_torch_that_is_missing_or_broken():
    assert one(Facts(), "torch").found == "missing"
    broken = one(Facts(torch_error="libcudart.so.13: cannot open shared object file"), "torch")
    assert broken.state == "attention" and "libcudart" in broken.found


def with_card(monkeypatch, free=23.0, bf16=True, capability=(8, 9), archs=("sm_80", "sm_90")):
    monkeypatch.setattr(location, "budget", lambda settings: free)
    return Facts("2.13.0+cu130", cuda="13.0", smi=SMI,
                 card=Card("RTX 4070", capability, bf16, int(24 * GIB), int(free * GIB), archs))


def test_a_good_card_is_ok_and_its_model_is_named(monkeypatch):
    facts = with_card(monkeypatch)
    assert {check.state for check in checks_of(facts)} == {"ok"}
    assert "8.9, driver 570.86" in one(facts, "card").found
    memory = one(facts, "card's memory").found
    assert "23.0 of 24.0 GiB free" in memory and "budget 23.0 GiB, model auto is Qwen/Qwen3-8B" in memory


def test_a_card_in_use_an_old_one_and_one_that_torch_was_not_built_for(monkeypatch):
    busy = one(with_card(monkeypatch, free=7.0), "card's memory")
    assert busy.state == "attention" and "Qwen3-1.7B" in busy.found and "nvidia-smi" in busy.advice
    old = with_card(monkeypatch, bf16=False, capability=(6, 1))
    assert one(old, "bf16").state == "note" and one(old, "card").state == "attention"


@pytest.mark.parametrize("capability, archs, covered", [
    ((8, 6), ("sm_80",), True), ((8, 0), ("sm_86",), False), ((12, 0), ("sm_90", "compute_90"), True),
    ((12, 0), ("sm_90",), False), ((9, 0), ("sm_90a",), True), ((7, 5), ("compute_80", "gfx90a"), False)])
def test_what_a_build_runs_on(capability, archs, covered):
    assert is_covered(capability, archs) is covered


def test_the_card_is_asked_as_torch_is_asked():
    cuda = SimpleNamespace(get_device_properties=lambda n: SimpleNamespace(name="X", major=9, minor=0),
                           mem_get_info=lambda n: (5, 7), is_bf16_supported=lambda: True,
                           get_arch_list=lambda: ["sm_90"])
    assert card.ask_card(SimpleNamespace(cuda=cuda)) == Card("X", (9, 0), True, 7, 5, ("sm_90",))
