"""Examines a gateway and its surroundings. It changes nothing; what is concluded is `agent.core.report.checks`'s."""
