"""The eight steps of the method, in order: the one list of them."""
from typing import NamedTuple


class StepInfo(NamedTuple):
    """module: what `python -m` runs; about: what the step does, in a line."""
    module: str
    about: str


STEPS = {"prepare": StepInfo("tagpr_lite.steps.step1_prepare",
                             "read LaMP, retrieve profile items, plan the memory"),
         "tag": StepInfo("tagpr_lite.steps.step2_tag",
                         "a teacher thinks aloud, its right chains are cut into tagged steps"),
         "sft": StepInfo("tagpr_lite.steps.step3_sft", "QLoRA on prompt, tagged thought, answer"),
         "reward": StepInfo("tagpr_lite.steps.step4_reward",
                            "PRMU learns from pairs whose answer fits which user"),
         "guided": StepInfo("tagpr_lite.steps.step5_guided", "GRPO on task + tags + PRMU"),
         "explore": StepInfo("tagpr_lite.steps.step6_explore", "GRPO on the task alone"),
         "evaluate": StepInfo("tagpr_lite.steps.step7_evaluate", "LaMP metrics of every system on dev"),
         "report": StepInfo("tagpr_lite.steps.step8_report", "this page"),}
