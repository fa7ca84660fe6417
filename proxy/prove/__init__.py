"""Which tasks of a log a cheaper model can take over: compiled and proven on its calls, before any traffic."""
