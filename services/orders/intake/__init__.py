"""Intake of submissions and commands: decoding, validation and sealing of persons."""
