"""A finished run that answers: `ask` in a terminal, `serve` behind a protocol.

run.py opens the folder, answerer.py writes, stream.py reads what is written while it is written, history.py
keeps what a person has said so far, terminal.py shows a chain in colour.
"""
