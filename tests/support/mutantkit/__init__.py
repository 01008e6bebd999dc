"""One-line mutants of the agent: each breaks one rule, and the tests that stand beside it must fail for it.

`table` says which, `copies` makes and tries them, ``python -m support.mutantkit`` (`make mutants`) reports. It refuses
to touch the tree that it stands in: every mutant lives in a copy.
"""
