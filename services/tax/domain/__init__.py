"""What an order owes, under which rule, and what happens to its assessment afterwards."""
