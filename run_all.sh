#!/usr/bin/env bash
# TagPR on one machine, from nothing to a report.
#
#   bash run_all.sh                            the whole method: a CUDA card gives `gpu`, otherwise `cpu`
#   bash run_all.sh smoke                      all eight steps on a tiny random model, in minutes
#   bash run_all.sh cpu lamp.source=FOLDER     your LaMP-format files; any key=value (.venv/bin/python -m tagpr_lite.config)
#   bash run_all.sh gpu --vram 8               a budget in GiB; without a card it runs on the CPU
#   bash run_all.sh gpu --cards 2              two cards of this machine train together; a run may change their number
#   bash run_all.sh test                       ruff, the tests, and one complete smoke run
#   bash run_all.sh test --card                the tests of engine, grpo and prmu on a CUDA card, in one process
#   bash run_all.sh doctor [words]             what is here, and a self-test on a card; doctor --help
#
# Stop it whenever you like: the same command goes on from where it was. TAGPR_PYTHON=/path/to/python uses an
# environment of yours instead of making .venv.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
# glibc: huge pages, and freed memory stays with the process (runs/commands.py, MALLOC): an update on a CPU takes half the time
export GLIBC_TUNABLES=glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184
export PYTORCH_ALLOC_CONF=expandable_segments:True HF_HUB_DISABLE_TELEMETRY=1 PYTHONWARNINGS=ignore

# ---- 1. Python and packages
if [ -n "${TAGPR_PYTHON:-}" ]; then
  python=$TAGPR_PYTHON
else
  python="$here/.venv/bin/python"
  stamp="$here/.venv/installed"
  if ! cmp -s "$here/requirements.txt" "$stamp"; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed" >&2; exit 2; }
    echo "installing requirements into .venv ..."
    python3 -m venv "$here/.venv"
    # --no-compile: what is imported is compiled then; the other thousands of files never are
    if "$python" -m pip install --quiet --disable-pip-version-check --no-compile -r "$here/requirements.txt"; then
      cp "$here/requirements.txt" "$stamp"
    elif [ "${1:-}" != doctor ]; then  # the doctor says what is missing, and whether the index can be reached
      echo "error: the packages could not be installed; bash run_all.sh doctor says what is wrong" >&2; exit 2
    fi
  fi
fi

# ---- 2. what to run
preset="" settings=() cards=1
while [ $# -gt 0 ]; do
  case "$1" in
    test)
      shift; cd "$here"
      if [ "${1:-}" = --card ]; then
        shift
        "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null ||
          { echo "error: test --card needs a CUDA card that torch can use; see bash run_all.sh doctor" >&2; exit 2; }
        exec "$python" -m pytest -q -n 0 "$@" tests/engine tests/grpo tests/prmu
      fi
      "$python" -m ruff check tagpr_lite tests
      exec "$python" -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder "$@" tests ;;  # -n 0: one process
    doctor) shift; exec "$python" -m tagpr_lite.doctor "$@" ;;
    --vram) [ $# -gt 1 ] || { echo "error: --vram needs a number of GiB" >&2; exit 2; }; settings+=("model.vram=$2"); shift 2 ;;
    --vram=*) settings+=("model.vram=${1#*=}"); shift ;;
    --cards) [ $# -gt 1 ] || { echo "error: --cards needs a number" >&2; exit 2; }; cards=$2; shift 2 ;;
    --cards=*) cards=${1#*=}; shift ;;
    -h|--help) sed -n '2,14p' "${BASH_SOURCE[0]}" | cut -c3-; exit 0 ;;
    *=*) settings+=("$1"); shift ;;
    -*) echo "error: unknown option $1; see bash run_all.sh --help" >&2; exit 2 ;;
    *) [ -z "$preset" ] || { echo "error: two presets, $preset and $1; settings are written key=value" >&2; exit 2; }; preset=$1; shift ;;
  esac
done
[[ $cards =~ ^[1-9][0-9]{0,2}$ ]] || { echo "error: --cards $cards: a whole number from 1 on" >&2; exit 2; }
if [ -z "$preset" ]; then
  choice=$("$python" -m tagpr_lite.steps.preset)  # a line whose last word is the preset
  echo "$choice"
  preset=${choice##* }
fi

# ---- 3. the eight steps, which all belong to this one process: no other may write into the run's folder meanwhile
export TAGPR_OWNER=$$
run=(-m)
[ "$cards" = 1 ] || run=(-m tagpr_lite.runs.launch --cards "$cards")  # a process a card, for the steps that train
for step in $("$python" -m tagpr_lite.steps); do
  "$python" "${run[@]}" "$step" --preset "$preset" ${settings[@]+"${settings[@]}"}
done
