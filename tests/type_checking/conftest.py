"""What the checkers read is no test module."""

collect_ignore = ["mistakes.py", "typical_use.py"]
