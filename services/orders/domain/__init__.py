"""The order: its states, its decisions, its rejections and its sales. Pure."""
