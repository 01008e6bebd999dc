"""Stories of one gateway, told with the real command and daemon against the sandbox, and the promise they are held to.

The promise: from every state in which some rung of the ladder would be accepted, once cloud, disk and clock behave, the
gateway is connected within minutes and within its budget, without a person; and nothing says ok while no set works.

`steps` is the language: what may happen to a gateway, a value each. `endings` are the rungs of which exactly one is
accepted at the end. `chance` draws a story from a seed; `known` is a table of stories with names. `telling` tells one
and says what was not kept. ``python -m support.walkkit`` tells many, in processes of their own.
"""
