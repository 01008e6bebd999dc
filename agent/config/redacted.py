"""The text of a configuration without what may hold a secret, for an archive that leaves the gateway.

It knows the shape of YAML and which keys may hold secrets, and refuses to know whether a configuration is a sound one.
"""

from __future__ import annotations

import yaml

_KEPT = {"parameters": 0, "command": 1}  # how much of these is no secret for certain


def without_parameters(text: str) -> str:
    """Return a configuration without what may hold a secret: parameters, arguments of commands, remarks.

    Raises:
        yaml.YAMLError: The text is no YAML.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return "" if root is None else str(yaml.serialize(_emptied(root), Dumper=yaml.SafeDumper, allow_unicode=True))


def _emptied(node: yaml.Node) -> yaml.Node:
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.CollectionNode):
            value.value = value.value[: _KEPT.get(key.value, len(value.value))]
        _emptied(value)
    for value in node.value if isinstance(node, yaml.SequenceNode) else ():
        _emptied(value)
    return node
