"""python -m tagpr_lite.steps: the modules of the eight steps, in order, as run_all.sh runs them."""
from . import STEPS

if __name__ == "__main__":
    for step in STEPS.values():
        print(step.module)
