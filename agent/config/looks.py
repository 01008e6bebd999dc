"""The key `session`: a connection always, or a look now and then."""

from __future__ import annotations

from agent.config.kinds import Duration
from agent.config.sections import Key, Section
from agent.core.when.looks import Looks

LOOKS = Section(
    Looks,
    (
        Key("every", Duration("10m", "7d"), "from the end of one look to the next, at most"),
        Key("for", Duration("1m", "10m"), "how long a look lasts, with nothing to stay for", attribute="lasts"),
    ),
    word="always",
)
