"""What nexusd decides, and nothing else: no await, no I/O, no clock, no randomness.

Every instant in here is a float: seconds since the Unix epoch, UTC, as `ports.Clock.now` gives them (it
never steps, see there). Every duration is a float in seconds and says so in its name (`timeout_s`).
"""
