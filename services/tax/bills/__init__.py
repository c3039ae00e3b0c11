"""Tax bills of customs: followed from the bill to its payment."""
