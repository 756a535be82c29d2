"""A run's model for other programs: the adapter as peft has it or the whole model, checked, with a card."""
