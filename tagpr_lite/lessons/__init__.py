"""Six lessons. Each is one plain script, read from top to bottom, and runs in seconds on two CPU cores.

    python -m tagpr_lite.lessons.chain             a tagged chain, its faults, its claims
    python -m tagpr_lite.lessons.reward            a reward, term by term
    python -m tagpr_lite.lessons.grpo_step         one step of GRPO, from the prompt to the gradient
    python -m tagpr_lite.lessons.shared_prompt     the same gradient with the prompt forwarded once
    python -m tagpr_lite.lessons.user_embedding    what a user embedding does to PRMU's score
    python -m tagpr_lite.lessons.run_folder        the files of a run, step by step

They print what they compute; no figure in them is written down beforehand. To try what a lesson ends with,
edit it where it is: `git checkout` brings it back.
"""
