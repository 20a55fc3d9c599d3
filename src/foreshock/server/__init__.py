"""The server: requests that run together, each with its own steering, readings and alarms."""
