"""What is owed under which rule, and what becomes of an assessment."""
