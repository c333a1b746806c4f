"""Coverage-guided fuzzing (atheris), on demand:

    pip install atheris
    python -m tests.fuzz TARGET --seconds 600 [--corpus DIRECTORY]

targets.py holds what is fuzzed; each target takes bytes and raises only if a promise is broken. rig.py holds the whole
bridge without its shells. The same targets run on examples of hypothesis in tests/unit/test_fuzz_targets.py.
"""
