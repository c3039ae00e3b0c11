"""`crossborder access …`: users and rights of the broker, keys of the parties."""
