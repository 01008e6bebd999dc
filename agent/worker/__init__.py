"""The process that carries one order out for the daemon, so that the idle daemon stays small."""

from agent.system import late

late.put_off()
