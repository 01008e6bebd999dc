"""``python -I -m agent`` is ``iot-cert``."""

from agent.cli import main

raise SystemExit(main())
