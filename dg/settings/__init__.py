"""How a command is told what to do: its settings, plug-in tables, the command line, and errors with exit codes."""
