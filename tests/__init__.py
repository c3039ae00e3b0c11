"""What crossborder promises, shown."""
