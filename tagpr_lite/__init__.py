import logging

# bitsandbytes logs a missing optional package at every import on a CPU.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
